"""Tar shards of images and captions, read at random through an index that is built once."""

import glob
import json
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import item_problem, scan, signature_of, write_atomically
from dalle_jax.data.folder import captions_in
from dalle_jax.data.images import decode
from dalle_jax.data.splits import TEST_SHARE, VALIDATION_SHARE, split_mask

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
CAPTION_EXTENSIONS = ("txt", "caption", "json")

_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^/.]+)\.(?P<extension>[^/]+)", re.DOTALL)
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class WebDatasetSource:
    """Samples of tar shards: the members of one key, an image and a caption.

    `shards` is a glob ("data/*.tar"), a range ("data/{000..010}.tar"), or a list of these. The
    index and the report of skipped samples stand beside the first shard, or in `cache_dir`, and
    are made again when a shard's name, size or time changes.

    Raises:
        FileNotFoundError: there are no such shards.
        ValueError: more than `max_bad_share` of the samples are bad.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        split: str = "train",
        *,
        max_bad_share: float = 0.01,
        validation_share: float = VALIDATION_SHARE,
        test_share: float = TEST_SHARE,
        cache_dir: str | Path | None = None,
    ):
        self._shards = expand(shards)
        status = [path.stat() for path in self._shards]
        signature = signature_of(
            (path.name, stat.st_size, stat.st_mtime_ns) for path, stat in zip(self._shards, status)
        )
        name = signature_of(map(str, self._shards))[:12]
        folder = Path(cache_dir or self._shards[0].parent)
        sizes = np.array([stat.st_size for stat in status])
        index = _load_index(folder / f"index-{name}.npz", signature, sizes)
        if index is None:
            index = build_index(self._shards)
            _save_index(folder / f"index-{name}.npz", signature, index)
        keys, rows = index

        def problem(i: int) -> str | None:
            if rows[i, 0] < 0:
                return "torn shard"
            captions = self._captions(rows[i])
            if captions is None:
                return "unreadable caption"
            return item_problem(self._read(rows[i, 0], *rows[i, 1:3]), captions)

        good, self.report = scan(
            f"webdataset {shards}",
            keys,
            problem,
            signature=signature,
            report_path=folder / f"data_report-{name}.json",
            max_bad_share=max_bad_share,
        )
        mask = split_mask(
            [keys[i] for i in good], split, validation_share=validation_share, test_share=test_share
        )
        self._rows = rows[good[mask]]
        self._keys = [keys[i] for i in good[mask]]

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        try:
            image = decode(self._read(row[0], *row[1:3]))
            captions = tuple(text.strip() for text in self._captions(row) if text.strip())
            caption = captions[0]
        except (OSError, ValueError, TypeError, IndexError) as error:
            raise ValueError(
                f"{self._keys[index]}, readable when the shards were opened, is not: {error}."
            ) from error
        return {
            "image": image,
            "caption": caption,
            "captions": captions,
            "id": self._keys[index],
        }

    def place(self, index: int) -> str:
        """The shard and the key of an item."""
        return f"{self._keys[index]} of {self._shards[self._rows[index, 0]]}"

    def _read(self, shard: int, offset: int, size: int) -> bytes | None:
        if offset < 0:
            return None
        with open(self._shards[shard], "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def _captions(self, row: np.ndarray) -> list[str] | None:
        """The captions of a row of the index: [] where it has none, None where unreadable."""
        shard, _, _, offset, size, is_json = row
        encoded = self._read(shard, offset, size)
        if encoded is None:
            return []
        try:
            text = encoded.decode("utf-8-sig")
            return captions_in(json.loads(text)) if is_json else [text]
        except (ValueError, RecursionError):
            return None


def expand(shards: str | Sequence[str]) -> list[Path]:
    """The shard files that globs and ranges name, sorted."""
    patterns = [shards] if isinstance(shards, str | Path) else list(shards)
    found: set[str] = set()
    for pattern in map(str, patterns):
        match = _RANGE.search(pattern)
        if match:
            first, last = match.groups()
            numbers = range(int(first), int(last) + 1)
            names = [_RANGE.sub(f"{n:0{len(first)}d}", pattern, count=1) for n in numbers]
        else:
            names = glob.glob(pattern, recursive=True)
        missing = [name for name in names if not Path(name).is_file()]
        if missing or not names:
            raise FileNotFoundError(f"There is no tar shard {missing[0] if missing else pattern}.")
        found.update(names)
    return sorted(Path(name).absolute() for name in found)


def build_index(shards: Sequence[Path]) -> tuple[list[str], np.ndarray]:
    """Ids of all samples and int64 [N, 6] rows of where their parts lie.

    A row holds shard, image offset, image size, caption offset, caption size, is JSON; an offset
    of −1 says there is none, a shard of −1 that the shard named by the id is torn.
    """
    keys: list[str] = []
    rows: list[tuple[int, ...]] = []
    root = os.path.commonpath([shard.parent for shard in shards])
    for number, shard in enumerate(shards):
        name = shard.relative_to(root).as_posix()
        with open(shard, "rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise ValueError(f"{shard} is compressed; unpack it to be read at random: gunzip.")
        members, torn = _members(shard)
        for key, parts in members.items():
            image = next((parts[e] for e in IMAGE_EXTENSIONS if e in parts), (-1, 0))
            extension = next((e for e in CAPTION_EXTENSIONS if e in parts), "")
            caption = parts.get(extension, (-1, 0))
            if image[0] >= 0 or caption[0] >= 0:
                keys.append(f"{name}/{key}")
                rows.append((number, *image, *caption, extension == "json"))
        if torn:
            keys.append(f"{name} (the rest of the shard)")
            rows.append((-1, -1, 0, -1, 0, 0))
    return keys, np.array(rows, np.int64).reshape(len(rows), 6)


def _members(shard: Path) -> tuple[dict[str, dict[str, tuple[int, int]]], bool]:
    """(offset, size) of each member by key and extension, and whether the shard is torn."""
    members: dict[str, dict[str, tuple[int, int]]] = {}
    end = shard.stat().st_size
    last = -1
    try:
        with tarfile.open(shard, "r:") as tar:
            while (member := tar.next()) is not None:
                # A hostile header could point backwards, where reading would go on for ever.
                if member.offset <= last or member.size < 0 or member.offset_data > end:
                    return members, True
                last = member.offset
                tar.members.clear()
                match = _MEMBER.fullmatch(member.name)
                if not member.isreg() or member.sparse or not match:
                    continue
                if member.offset_data + member.size > end:
                    return members, True
                parts = members.setdefault(match["key"], {})
                parts[match["extension"].lower()] = (member.offset_data, member.size)
            # After its first header, tarfile takes a torn one for the end of the shard.
            tar.fileobj.seek(tar.offset)
            return members, tar.fileobj.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE
    except Exception:  # Fed with torn headers, tarfile raises nearly anything.
        return members, True


def _load_index(
    path: Path, signature: str, sizes: np.ndarray
) -> tuple[list[str], np.ndarray] | None:
    """The index kept at `path`, if it is of these shards and stays inside their `sizes`."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["signature"]) == signature:
                keys, rows = saved["keys"], saved["rows"]
                if keys.dtype.kind == "U" and _stays_inside(rows, len(keys), sizes):
                    return keys.tolist(), rows
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError):
        return None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError):
        return None
    return None


def _stays_inside(rows: np.ndarray, count: int, sizes: np.ndarray) -> bool:
    if rows.dtype != np.int64 or rows.shape != (count, 6):
        return False
    shards = rows[:, 0]
    if not ((shards >= -1) & (shards < len(sizes))).all():
        return False
    ends = np.where(shards < 0, 0, sizes[shards])
    return all(
        ((offset == -1) | ((offset >= 0) & (size >= 0) & (size <= ends - offset))).all()
        for offset, size in (rows[:, 1:3].T, rows[:, 3:5].T)
    )


def _save_index(path: Path, signature: str, index: tuple[list[str], np.ndarray]) -> None:
    keys, rows = index
    try:
        write_atomically(
            path,
            lambda file: np.savez_compressed(
                file, signature=np.array(signature), keys=np.array(keys, dtype=str), rows=rows
            ),
        )
    except OSError:
        return  # The report beside it warns of a place that cannot be written.
