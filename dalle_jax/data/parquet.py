"""Parquet files with embedded images and captions, as Hugging Face and img2dataset write them."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data import git_lfs
from dalle_jax.data.checked import (
    UNREADABLE_NPZ,
    Finding,
    about_to_scan,
    inspect_item,
    scan,
    signature_of,
)
from dalle_jax.data.files import File, cache_of, describe_spec, find_files, labels_of
from dalle_jax.data.images import decode
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.parquet_table import (
    CACHE_BYTES,
    UNREADABLE_PARQUET,
    Columns,
    RowGroups,
    find_columns,
    first_line,
    open_parquet,
    raise_if_not_there,
)
from dalle_jax.data.splits import split_mask, warn_of_named_splits
from dalle_jax.data.text import (
    CAPTION_KEYS,
    captions_of_lines,
    captions_of_record,
    decode_text,
)
from dalle_jax.files import write_atomically

VERSION = 1  # of the file of an index
LARGE_GROUP = 2**25  # bytes
# A file that claims more is hostile: an image alone takes more bytes.
MAX_ROWS_PER_BYTE = 8


class ParquetSource:
    """Rows of Parquet files with an image in one column and captions in others.

    `files` is what `find_files` takes: names, globs, braces, a folder, URLs. `options` are those of
    `ReadingOptions`. Row groups are decoded
    when one of their rows is asked for. An item's split follows from the content of its image: it
    stays where it is whatever the order of the rows and the names of the files, and rows of one
    image are never in two splits.

    Attributes:
        report: of what is used, bad and left out.
        signature: of images, sizes and captions of all splits; not of where the files lie.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: more than `max_bad_share` of the rows are bad, or it is not clear which columns
            hold the images and the captions.
        OSError: a file can't be read.
    """

    def __init__(
        self,
        files: str | Path | Sequence[str | Path],
        split: str = "train",
        **options: Any,
    ):
        self._options = options = ReadingOptions(**options)
        self._files = find_files(files, ".parquet")
        labels = labels_of(self._files)
        index_path, report_path = cache_of(self._files, options.columns, options.cache_dir)
        status = [(file.name, file.size, file.version) for file in self._files]
        signature = signature_of([*status, *options.columns, options.encoding])
        index = _Index.load(index_path, signature, len(self._files))
        if fresh := index is None:
            about_to_scan(is_known=report_path.exists())
            index = _survey(self._files, options.image_column, options.caption_column)
        self._rows = RowGroups(self._files, index.columns)
        what = f"parquet {describe_spec(files, self._files)}"
        warn_of_named_splits(
            what, [str(file) for file in self._files], "parquet:FOLDER/train-*.parquet"
        )
        _warn_of_large_groups(what, index.groups)
        places = index.places()
        ids = [f"{labels[file]}#{row}" for file, row in index.rows_of_files()]
        ids += [labels[file] for file, _ in index.unreadable]

        def inspect(i: int) -> Finding:
            if i >= len(places):
                return Finding(index.unreadable[i - len(places)][1], content=ids[i])
            try:
                encoded, captions = self._parts(*places[i].tolist())
            except ValueError as error:
                return Finding(str(error), content=ids[i])
            if encoded is None:
                return Finding("no image embedded", content=ids[i])
            index.digests[i] = digest = _digest(encoded)
            return inspect_item(encoded, captions, options, (digest, len(encoded), captions))

        good, self.report = scan(
            what,
            ids,
            inspect,
            signature=signature_of([signature, options.min_side, options.max_aspect_ratio]),
            report_path=report_path,
            max_bad_share=options.max_bad_share,
        )
        for i in good[index.digests[good] == b""]:  # of a report whose index was lost
            index.digests[i] = _digest(self._parts(*places[i].tolist())[0])
        if fresh:
            index.save(index_path, signature)
        self.signature = self.report.content
        keys = [digest.decode() for digest in index.digests[good].tolist()]
        mask = split_mask(keys, split, **options.shares)
        self._digests = keys[:MAX_ITEMS]
        refused = np.setdiff1d(np.arange(len(places)), good).tolist()
        self._refused = {ids[i]: places[i] for i in refused}
        self._places = places[good[mask]]
        self._ids = [ids[i] for i in good[mask]]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            encoded, captions = self._parts(*self._places[index].tolist())
            image, caption = decode(encoded or b""), captions[0]
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{self.place(index)}, readable when the files were scanned, is not: {error}."
            ) from error
        return {
            "image": image,
            "caption": caption,
            "captions": tuple(captions),
            "id": self._ids[index],
        }

    def place(self, index: int) -> str:
        """The file and the row of an item."""
        return f"{self._ids[index]} of {self._files[int(self._places[index, 0])]}"

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of a row that was refused; None where it has none."""
        place = self._refused.get(item_id)
        try:
            return None if place is None else self._rows.row(*place.tolist())[0]
        except (OSError, ValueError):
            return None

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        return digests_of((digest, "") for digest in self._digests)

    def _parts(self, file: int, group: int, row: int) -> tuple[bytes | None, list[str]]:
        """The encoded image of a row, None where there is none, and its captions."""
        try:
            encoded, record = self._rows.row(file, group, row)
        except UnicodeDecodeError:
            raise ValueError("unreadable caption: not UTF-8") from None
        column = self._options.caption_column or (
            "" if {*record} <= {*CAPTION_KEYS} else next(iter(record))
        )
        try:
            for name, value in record.items():
                if isinstance(value, bytes):
                    record[name] = "\n".join(
                        captions_of_lines(decode_text(value, self._options.encoding))
                    )
        except ValueError as error:
            raise ValueError(f"unreadable caption: {error}") from None
        captions = captions_of_record(record, column)
        if captions is None:
            raise ValueError("unreadable caption")
        return encoded, captions or [""] * any(value is not None for value in record.values())


def _digest(encoded: bytes) -> bytes:
    return hashlib.sha256(encoded).hexdigest()[:32].encode()


def _warn_of_large_groups(what: str, groups: np.ndarray) -> None:
    sizes = groups[:, 3]
    if sizes.sum() > CACHE_BYTES and sizes.mean() > LARGE_GROUP:
        warnings.warn(
            f"{what}: an image read at random costs decoding a row group of "
            f"{sizes.mean() / 2**20:.0f} MiB; write the files with row groups of about 100 images.",
            stacklevel=3,
        )


@dataclass
class _Index:
    """What is known of the files without reading them again.

    Attributes:
        columns: of each file.
        groups: int64 [G, 4]: file, number in the file, rows and bytes of each row group.
        unreadable: files that can't be read at all, and why.
        digests: bytes [N]: SHA-256 of each row's image in hexadecimal; b"" where it is not known.
    """

    columns: list[Columns]
    groups: np.ndarray
    unreadable: list[tuple[int, str]]
    digests: np.ndarray

    def places(self) -> np.ndarray:
        """int64 [N, 3]: file, row group and row in it of each row."""
        rows = self.groups[:, 2]
        starts = np.repeat(np.cumsum(rows) - rows, rows)
        row = np.arange(rows.sum()) - starts
        return np.stack([*np.repeat(self.groups[:, :2], rows, axis=0).T, row], axis=1)

    def rows_of_files(self) -> list[tuple[int, int]]:
        """The file of each row, and its number in the file."""
        rows = Counter()
        for file, _, count, _ in self.groups.tolist():
            rows[file] += count
        return [(file, row) for file, count in sorted(rows.items()) for row in range(count)]

    def save(self, path: Path, signature: str) -> None:
        """Write it, or nothing where the place can't be written."""
        about = {"columns": self.columns, "unreadable": self.unreadable}
        arrays = {
            "version": np.array(VERSION),
            "signature": np.array(signature),
            "groups": self.groups,
            "digests": self.digests,
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        }
        try:
            write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
        except OSError:
            return  # The report beside it warns of a place that cannot be written.

    @classmethod
    def load(cls, path: Path, signature: str, num_files: int) -> "_Index | None":
        """That at `path`, if it is of these files."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                if int(saved["version"]) != VERSION or str(saved["signature"]) != signature:
                    return None
                groups, digests = saved["groups"], saved["digests"]
                about = json.loads(saved["about"].tobytes())
            columns = [
                Columns(str(image), str(leaf), tuple(map(str, names)))
                for image, leaf, names in about["columns"]
            ]
            unreadable = [(int(file), str(reason)) for file, reason in about["unreadable"]]
            if groups.dtype != np.int64 or groups.shape[1:] != (4,) or (groups < 0).any():
                return None
            files = [*groups[:, 0].tolist(), *(file for file, _ in unreadable)]
            sound = len(columns) == num_files and all(0 <= file < num_files for file in files)
            sound = sound and digests.dtype == np.dtype("S32")
            sound = sound and digests.shape == (groups[:, 2].sum(),)
        except (*UNREADABLE_NPZ, MemoryError, AttributeError, RecursionError):
            return None
        return cls(columns, groups, unreadable, digests) if sound else None


def _survey(files: Sequence[File], image_column: str, caption_column: str) -> _Index:
    """What the files hold, by their footers."""
    columns: list[Columns] = []
    groups: list[tuple[int, int, int, int]] = []
    unreadable: list[tuple[int, str]] = []
    for number, file in enumerate(files):
        columns.append(Columns("", "", ()))
        try:
            with open_parquet(file) as opened:
                schema, about = opened.schema_arrow, opened.metadata
                counts = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
                sizes = [about.row_group(i).total_byte_size for i in range(about.num_row_groups)]
        except UNREADABLE_PARQUET as error:
            raise_if_not_there(error)
            pointer = git_lfs.is_pointer(file.read(0, len(git_lfs.START)))
            reason = git_lfs.POINTER if pointer else f"unreadable file: {first_line(error)}"
            unreadable.append((number, reason))
            continue
        if not 0 <= sum(counts) <= MAX_ROWS_PER_BYTE * file.size or min(counts, default=0) < 0:
            unreadable.append((number, "unreadable file: more rows than it has bytes for"))
            continue
        if sum(counts):
            columns[-1] = find_columns(schema, str(file), image_column, caption_column)
        groups += [(number, i, n, max(size, 0)) for i, (n, size) in enumerate(zip(counts, sizes))]
    table = np.array(groups, np.int64).reshape(len(groups), 4)
    return _Index(columns, table, unreadable, np.zeros(table[:, 2].sum(), "S32"))
