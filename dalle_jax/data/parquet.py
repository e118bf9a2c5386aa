"""Parquet files with embedded images and captions, as Hugging Face and img2dataset write them."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.index import Index, text_array
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.parquet_index import columns_in, is_sound, places_of, rows_of_files, survey
from dalle_jax.data.parquet_table import CACHE_BYTES, RowGroups
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

    def __init__(
        self, files: str | Path | Sequence[str | Path], split: str = "train", **options: Any
    ):
        super().__init__(files, split, **options)

    def _scan(self) -> Index:
        found = survey(self._files, self._options)
        self._groups = RowGroups(self._files, found.columns)
        places = places_of(found.groups)
        ids = _ids(found.groups, self._labels)
        ids += [self._labels[file] for file, _ in found.unreadable]
        digests, splits = np.zeros(len(places), "S32"), np.zeros(len(places), np.uint8)

        def inspect(i: int) -> Finding:
            if i >= len(places):
                return Finding(found.unreadable[i - len(places)][1], content=ids[i])
            try:
                encoded, record, cell = self._row(places[i])
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
        columns = text_array(json.dumps(found.columns))
        arrays = {"columns": columns, "groups": found.groups, "good": good, "own": splits}
        return Index(report, {**arrays, "digests": digests[good]})

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        return is_sound(arrays, len(self._files))

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        groups, good, digests, own = (arrays[n] for n in ("groups", "good", "digests", "own"))
        self._groups = RowGroups(self._files, columns_in(arrays))
        self._digests = digests[:MAX_ITEMS]
        _warn_of_large_groups(self._what, groups)
        return Listing(
            _ids(groups, self._labels),
            places_of(groups),
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
    """The ids of all rows."""
    return [f"{labels[file]}#{row}" for file, row in rows_of_files(groups)]


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
