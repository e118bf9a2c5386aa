"""Parquet files with embedded images and captions, as Hugging Face and img2dataset write them."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dalle_jax.data import git_lfs
from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.files import File
from dalle_jax.data.index import Index, are_numbers_of, text_array
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
from dalle_jax.data.splits import OTHER_CELL, SPLITS, split_of, split_positions
from dalle_jax.data.text import (
    CAPTION_KEYS,
    UNREADABLE_CAPTION,
    captions_of_lines,
    captions_of_record,
    decode_text,
)
from dalle_jax.data.user_source import FileSource, Listing

LARGE_GROUP = 2**25  # bytes
# A file that claims more is hostile: an image alone takes more bytes.
MAX_ROWS_PER_BYTE = 8
_OWN = {"": 0, **{name: number for number, name in enumerate(SPLITS, 1)}}


class ParquetSource(FileSource):
    """Rows of Parquet files with an image in one column and captions in others.

    Row groups are decoded when one of their rows is asked for. An item's split is what a column
    `split` says; else it follows from the content of its image, whatever the order of the rows and
    the names of the files. Rows of one image are never in two splits.

    Its index holds the columns of each file, the row groups, the numbers of the usable rows and the
    SHA-256 of their images (S32 [G]), and uint8 [N]: 1 + the number in `SPLITS` of the split that
    each row's column `split` says, 0 where it says none.

    Raises:
        ValueError: it is not clear which columns hold the images and the captions.
    """

    kind, suffix, hashed = "parquet", ".parquet", "each image"

    def _scan(self) -> Index:
        columns, groups, unreadable = _survey(self._files, self._options)
        self._groups = RowGroups(self._files, columns)
        locations = _locations_of(groups)
        ids = _ids(groups, self._labels) + [self._labels[file] for file, _ in unreadable]
        digests, splits = np.zeros(len(locations), "S32"), np.zeros(len(locations), np.uint8)

        def inspect(i: int) -> Finding:
            if i >= len(locations):
                return Finding(unreadable[i - len(locations)][1], content=ids[i])
            try:
                encoded, record, cell = self._row(locations[i])
                captions = self._captions(record)
            except ValueError as error:
                return Finding(str(error), content=ids[i])
            if encoded is None:
                return Finding("no image embedded", content=ids[i])
            own, is_other = split_of(cell)
            digests[i] = digest = hashlib.sha256(encoded).hexdigest()[:32].encode()
            splits[i] = _OWN[own]
            content = (digest, len(encoded), captions, *([own] if own else []))
            finding = inspect_item(encoded, captions, self._options, content)
            if is_other and finding.is_used and finding.note is None:
                finding = finding._replace(note=OTHER_CELL)
            return finding

        report, good = inspect_all(self._what, ids, inspect)
        arrays = {"columns": text_array(json.dumps(columns)), "groups": groups, "good": good}
        return Index(report, {**arrays, "own": splits, "digests": digests[good]})

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        groups, good, digests, own = (arrays[name] for name in ("groups", "good", "digests", "own"))
        if groups.dtype != np.int64 or groups.shape[1:] != (4,) or (groups < 0).any():
            return False
        return bool(
            len(_columns_in(arrays)) == len(self._files)
            and (groups[:, 0] < len(self._files)).all()
            and are_numbers_of(good, groups[:, 2].sum())
            and digests.dtype == np.dtype("S32")
            and digests.shape == good.shape
            and own.dtype == np.uint8
            and own.shape == (groups[:, 2].sum(),)
            and (own <= len(SPLITS)).all()
        )

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        groups, good, digests, own = (arrays[n] for n in ("groups", "good", "digests", "own"))
        self._groups = RowGroups(self._files, _columns_in(arrays))
        self._digests = digests[:MAX_ITEMS]
        _warn_of_large_groups(self._what, groups)
        return Listing(
            _ids(groups, self._labels),
            _locations_of(groups),
            good,
            split_positions([digest.decode() for digest in digests.tolist()]),
            _joined(digests, own[good], self._what),
            [name for name in SPLITS if (own == _OWN[name]).any()],
        )

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        return digests_of((digest.decode(), "") for digest in self._digests.tolist())

    def _row(self, row: np.ndarray) -> tuple[bytes | None, dict[str, Any], Any]:
        try:
            return self._groups.row(*row.tolist())
        except UnicodeDecodeError:
            raise ValueError(f"{UNREADABLE_CAPTION}: not UTF-8") from None

    def _parts(self, row: np.ndarray) -> tuple[bytes | None, dict[str, Any]]:
        return self._row(row)[:2]

    def _captions(self, record: dict[str, Any]) -> list[str]:
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
            raise ValueError(f"{UNREADABLE_CAPTION}: {error}") from None
        captions = captions_of_record(record, column)
        if captions is None:
            raise ValueError(UNREADABLE_CAPTION)
        return captions or [""] * any(value is not None for value in record.values())


def _ids(groups: np.ndarray, labels: Sequence[str]) -> list[str]:
    """The ids of all rows: their files, and their numbers in these."""
    counts = np.bincount(groups[:, 0], groups[:, 2]).astype(int).tolist()
    return [f"{label}#{row}" for label, count in zip(labels, counts) for row in range(count)]


def _joined(digests: np.ndarray, own: np.ndarray, what: str) -> np.ndarray:
    """The splits of rows [N], those of one image in the last of train, validation and test."""
    _, number = np.unique(digests, return_inverse=True)
    last = np.zeros(len(own), own.dtype)
    np.maximum.at(last, number, own)
    joined = last[number]
    if moved := int((joined != own).sum()):
        warnings.warn(
            f"{what}: {moved} rows have the image of a row in another split, and are in that of "
            "both which comes last among train, validation, test",
            stacklevel=6,
        )
    return joined


def _warn_of_large_groups(what: str, groups: np.ndarray) -> None:
    sizes = groups[:, 3]
    if sizes.sum() > CACHE_BYTES and sizes.mean() > LARGE_GROUP:
        warnings.warn(
            f"{what}: an image read at random costs decoding a row group of "
            f"{sizes.mean() / 2**20:.0f} MiB; write the files with row groups of about 100 images",
            stacklevel=6,
        )


def _columns_in(arrays: Mapping[str, np.ndarray]) -> list[Columns]:
    """The columns of each file, of JSON."""
    columns = json.loads(arrays["columns"].tobytes())
    return [
        Columns(str(i), str(leaf), tuple(map(str, names)), str(s)) for i, leaf, names, s in columns
    ]


def _locations_of(groups: np.ndarray) -> np.ndarray:
    """int64 [N, 3]: file, row group and row in it of each row."""
    rows = groups[:, 2]
    starts = np.repeat(np.cumsum(rows) - rows, rows)
    row = np.arange(rows.sum()) - starts
    return np.stack([*np.repeat(groups[:, :2], rows, axis=0).T, row], axis=1)


def _survey(
    files: Sequence[File], options: ReadingOptions
) -> tuple[list[Columns], np.ndarray, list[tuple[int, str]]]:
    """What the footers of files say.

    Returns:
        The columns of each file; int64 [G, 4]: file, number in the file, rows and bytes of each row
        group; and the numbers of unreadable files with the reasons.

    Raises:
        ValueError: it is not clear which columns hold the images and the captions.
        OSError: a file can't be read.
    """
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
            columns[-1] = find_columns(
                schema, str(file), options.image_column, options.caption_column
            )
        groups += [(number, i, n, max(size, 0)) for i, (n, size) in enumerate(zip(counts, sizes))]
    return columns, np.array(groups, np.int64).reshape(len(groups), 4), unreadable
