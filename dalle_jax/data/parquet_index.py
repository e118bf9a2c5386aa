"""What Parquet files with embedded images hold, so that opening them again reads no row."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dalle_jax.data import git_lfs
from dalle_jax.data.checked import UNREADABLE_NPZ
from dalle_jax.data.files import File
from dalle_jax.data.parquet_table import (
    UNREADABLE_PARQUET,
    Columns,
    find_columns,
    first_line,
    open_parquet,
    raise_if_not_there,
)
from dalle_jax.data.splits import SPLITS
from dalle_jax.files import write_atomically

VERSION = 2  # of the file of an index
# A file that claims more is hostile: an image alone takes more bytes.
MAX_ROWS_PER_BYTE = 8


@dataclass
class ParquetIndex:
    """What is known of the files without reading them again.

    Attributes:
        columns: of each file.
        groups: int64 [G, 4]: file, number in the file, rows and bytes of each row group.
        unreadable: files that can't be read at all, and why.
        digests: bytes [N]: SHA-256 of each row's image in hexadecimal; b"" where it is not known.
        own: uint8 [N]: 1 + the place in `SPLITS` of the split that each row's column `split` says,
            0 where it says none.
    """

    columns: list[Columns]
    groups: np.ndarray
    unreadable: list[tuple[int, str]]
    digests: np.ndarray
    own: np.ndarray

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
            "own": self.own,
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        }
        try:
            write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
        except OSError:
            return  # The report beside it warns of a place that cannot be written.

    @classmethod
    def load(cls, path: Path, signature: str, num_files: int) -> "ParquetIndex | None":
        """That at `path`, if it is of these files."""
        try:
            with np.load(path, allow_pickle=False) as saved:
                if int(saved["version"]) != VERSION or str(saved["signature"]) != signature:
                    return None
                groups, digests, own = (saved[name] for name in ("groups", "digests", "own"))
                about = json.loads(saved["about"].tobytes())
            columns = [
                Columns(str(image), str(leaf), tuple(map(str, names)), str(split))
                for image, leaf, names, split in about["columns"]
            ]
            unreadable = [(int(file), str(reason)) for file, reason in about["unreadable"]]
            if groups.dtype != np.int64 or groups.shape[1:] != (4,) or (groups < 0).any():
                return None
            files = [*groups[:, 0].tolist(), *(file for file, _ in unreadable)]
            sound = len(columns) == num_files and all(0 <= file < num_files for file in files)
            sound = sound and digests.dtype == np.dtype("S32")
            sound = sound and digests.shape == own.shape == (groups[:, 2].sum(),)
            sound = sound and own.dtype == np.uint8 and bool((own <= len(SPLITS)).all())
        except (*UNREADABLE_NPZ, MemoryError, AttributeError, RecursionError):
            return None
        return cls(columns, groups, unreadable, digests, own) if sound else None


def is_of_version_1(path: Path, signature: str) -> bool:
    """Whether an index of these files is one of version 1, which knew no splits of the rows."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return int(saved["version"]) == 1 and str(saved["signature"]) == signature
    except (*UNREADABLE_NPZ, MemoryError):
        return False


def survey(files: Sequence[File], image_column: str, caption_column: str) -> ParquetIndex:
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
    count = table[:, 2].sum()
    return ParquetIndex(
        columns, table, unreadable, np.zeros(count, "S32"), np.zeros(count, np.uint8)
    )
