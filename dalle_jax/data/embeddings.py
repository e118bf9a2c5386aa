"""Image embeddings of a data set, computed once by a trained CLIP and stored beside it.

An ArrayRecord file: the first record is JSON (format, the run that made them, the content signature
of the images, count, width), then one record an item, in the source's order: its embedding as
little-endian float32.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from dalle_jax.data.source import Source, Wrapper

FORMAT = 1
_AGAIN = "make them again with `dalle-jax prepare --embeddings`"


class StoredEmbeddings:
    """The embeddings of a file by index: float32 [D].

    Raises:
        ValueError: the file is torn, of another format, made by another run than `made_by`, or of
            images of another content signature than `data` ("" is unknown).
    """

    def __init__(self, path: str | Path, made_by: str, data: str = ""):
        self._reader, self.header = _open(path)
        if data and self.header.get("data", "") not in ("", data):
            raise ValueError(f"{path} holds embeddings of data that has changed since; {_AGAIN}")
        if self.header["made_by"] != made_by:
            raise ValueError(
                f"{path} holds embeddings of {self.header['made_by']}, and {made_by} is asked for; "
                f"{_AGAIN}"
            )

    def __len__(self) -> int:
        return self.header["count"]

    def __getitem__(self, index: int) -> np.ndarray:
        (record,) = self._reader.read([int(index) + 1])
        return np.frombuffer(record, "<f4")


class WithEmbeddings(Wrapper):
    """A source whose items also hold "image_embedding"."""

    def __init__(self, source: Source, embeddings: StoredEmbeddings):
        if len(source) != len(embeddings):
            raise ValueError(
                f"there are {len(embeddings)} stored embeddings for {len(source)} images; {_AGAIN}"
            )
        super().__init__(source)
        self._embeddings = embeddings

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self._source[index], "image_embedding": self._embeddings[index]}


def write_embeddings(
    path: str | Path,
    embeddings: Iterable[np.ndarray],
    *,
    count: int,
    width: int,
    made_by: str,
    data: str = "",
) -> None:
    """Write `count` embeddings [D] in order; the file appears only once it is whole.

    Raises:
        ValueError: there are more or fewer of them, or one is not finite or of another width.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    header = {"format": FORMAT, "made_by": made_by, "data": data, "count": count, "width": width}
    writer = ArrayRecordWriter(str(temporary), "group_size:1")
    try:
        writer.write(json.dumps(header, sort_keys=True).encode())
        written = 0
        for embedding in embeddings:
            if embedding.shape != (width,) or not np.isfinite(embedding).all():
                raise ValueError(f"embedding {written} is no {width} finite numbers")
            writer.write(np.asarray(embedding, "<f4").tobytes())
            written += 1
        if written != count:
            raise ValueError(f"{written} embeddings came where {count} were announced")
        writer.close()
        temporary.replace(path)
    finally:
        if writer.is_open():
            writer.close()
        temporary.unlink(missing_ok=True)


def _open(path: str | Path) -> tuple[ArrayRecordReader, dict[str, Any]]:
    try:
        reader = ArrayRecordReader(str(path))
        header = json.loads(reader.read([0])[0])
        sizes = {len(record) for record in reader.read([reader.num_records() - 1])}
        whole = (
            header["format"] == FORMAT
            and reader.num_records() == header["count"] + 1
            and sizes == {4 * header["width"]}
        )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} holds no readable embeddings: {error}") from error
    if not whole:
        raise ValueError(f"{path} is not whole; {_AGAIN.replace('them', 'it')}")
    return reader, header
