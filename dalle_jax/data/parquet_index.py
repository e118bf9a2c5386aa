"""Where the rows of Parquet files lie, by the files' footers, and which of them are usable."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dalle_jax.data import git_lfs
from dalle_jax.data.files import File
from dalle_jax.data.index import are_numbers_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.parquet_table import (
    UNREADABLE_PARQUET,
    Columns,
    find_columns,
    first_line,
    open_parquet,
    raise_if_not_there,
)
from dalle_jax.data.splits import SPLITS

# A file that claims more is hostile: an image alone takes more bytes.
MAX_ROWS_PER_BYTE = 8


@dataclass
class Survey:
    """What the footers of Parquet files say.

    Attributes:
        columns: of each file.
        groups: int64 [G, 4]: file, number in the file, rows and bytes of each row group.
        unreadable: files that can't be read at all, and why.
    """

    columns: list[Columns]
    groups: np.ndarray
    unreadable: list[tuple[int, str]]


def is_sound(arrays: Mapping[str, np.ndarray], num_files: int) -> bool:
    """Whether the arrays of an index fit the files: see `ParquetSource`."""
    groups, good, digests, own = (arrays[name] for name in ("groups", "good", "digests", "own"))
    if groups.dtype != np.int64 or groups.shape[1:] != (4,) or (groups < 0).any():
        return False
    return bool(
        len(columns_in(arrays)) == num_files
        and (groups[:, 0] < num_files).all()
        and are_numbers_of(good, groups[:, 2].sum())
        and digests.dtype == np.dtype("S32")
        and digests.shape == good.shape
        and own.dtype == np.uint8
        and own.shape == (groups[:, 2].sum(),)
        and (own <= len(SPLITS)).all()
    )


def columns_in(arrays: Mapping[str, np.ndarray]) -> list[Columns]:
    """The columns of each file, of JSON."""
    columns = json.loads(arrays["columns"].tobytes())
    return [
        Columns(str(i), str(leaf), tuple(map(str, names)), str(s)) for i, leaf, names, s in columns
    ]


def places_of(groups: np.ndarray) -> np.ndarray:
    """int64 [N, 3]: file, row group and row in it of each row."""
    rows = groups[:, 2]
    starts = np.repeat(np.cumsum(rows) - rows, rows)
    row = np.arange(rows.sum()) - starts
    return np.stack([*np.repeat(groups[:, :2], rows, axis=0).T, row], axis=1)


def rows_of_files(groups: np.ndarray) -> list[tuple[int, int]]:
    """The file of each row, and its number in the file."""
    rows = np.bincount(groups[:, 0], groups[:, 2]).astype(int).tolist()
    return [(file, row) for file, count in enumerate(rows) for row in range(count)]


def survey(files: Sequence[File], options: ReadingOptions) -> Survey:
    """What the files hold, by their footers.

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
    return Survey(columns, np.array(groups, np.int64).reshape(len(groups), 4), unreadable)
