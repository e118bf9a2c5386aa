"""Parquet files with embedded images and captions, as Hugging Face and img2dataset write them."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.files import cache_of, describe_spec, find_files, labels_of
from dalle_jax.data.index import Index, open_index, signature_of, text_array
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.parquet_index import (
    columns_in,
    is_sound,
    places_of,
    rows_of_files,
    survey,
)
from dalle_jax.data.parquet_table import CACHE_BYTES, RowGroups
from dalle_jax.data.splits import (
    OTHER_CELL,
    SPLITS,
    check_split,
    describe_own_splits,
    split_of,
    split_positions,
    warn_of_named_splits,
)
from dalle_jax.data.text import (
    CAPTION_KEYS,
    UNREADABLE_CAPTION,
    captions_of_lines,
    captions_of_record,
    decode_text,
)
from dalle_jax.data.user_source import UserSource

LARGE_GROUP = 2**25  # bytes
_OWN = {"": 0, **{name: 1 + place for place, name in enumerate(SPLITS)}}


class ParquetSource(UserSource):
    """Rows of Parquet files with an image in one column and captions in others.

    `files` is what `find_files` takes: names, globs, braces, a folder, URLs. `options` are those of
    `ReadingOptions`. Row groups are decoded when one of their rows is asked for. An item's split is
    what a column `split` says, else it follows from the content of its image: it stays where it is
    whatever the order of the rows and the names of the files. Rows of one image are never in two
    splits.

    Its index holds the columns of each file, the row groups, the numbers of the usable rows and the
    SHA-256 of their images (S32 [G]), and uint8 [N]: 1 + the place in `SPLITS` of the split that
    each row's column `split` says, 0 where it says none.

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
        check_split(split)
        self._files = find_files(files, ".parquet")
        what = f"parquet {describe_spec(files, self._files)}"
        warn_of_named_splits(
            what, [str(file) for file in self._files], "parquet:FOLDER/train-*.parquet"
        )
        index_path, report_path = cache_of(self._files, options.columns, options.cache_dir)
        status = [(file.name, file.size, file.version) for file in self._files]
        labels = labels_of(self._files)

        self.report, arrays = open_index(
            index_path,
            report_path,
            signature_of([*status, *options.read_by]),
            partial(is_sound, num_files=len(self._files)),
            lambda: self._scan(what, labels),
        )
        positions, own, own_splits = self._splits(what, arrays)
        self.report.check_and_warn(
            what + describe_own_splits(own_splits, "each image"), options.max_bad_share
        )
        groups, good = arrays["groups"], arrays["good"]
        self._groups = RowGroups(self._files, columns_in(arrays))
        _warn_of_large_groups(what, groups)
        self._digests = arrays["digests"][:MAX_ITEMS]
        places = _ids(groups, labels), places_of(groups)
        self._use(*places, good, positions, split, options, own, own_splits)

    def _scan(self, what: str, labels: Sequence[str]) -> Index:
        found = survey(self._files, self._options)
        self._groups = RowGroups(self._files, found.columns)
        places = places_of(found.groups)
        ids = _ids(found.groups, labels) + [labels[file] for file, _ in found.unreadable]
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

        report, good = inspect_all(what, ids, inspect)
        columns = text_array(json.dumps(found.columns))
        arrays = {"columns": columns, "groups": found.groups, "good": good, "own": splits}
        return Index(report, {**arrays, "digests": digests[good]})

    def _splits(
        self, what: str, arrays: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """What `split_numbers` takes: the usable rows' positions and splits, and all splits."""
        own_splits = [name for name in SPLITS if (arrays["own"] == _OWN[name]).any()]
        own = _joined(arrays["digests"], arrays["own"][arrays["good"]], what)
        return split_positions([d.decode() for d in arrays["digests"].tolist()]), own, own_splits

    def location(self, index: int) -> str:
        """The file and the row of an item."""
        return f"{self._ids[index]} of {self._files[int(self._rows[index, 0])]}"

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
            stacklevel=4,
        )
    return joined


def _warn_of_large_groups(what: str, groups: np.ndarray) -> None:
    sizes = groups[:, 3]
    if sizes.sum() > CACHE_BYTES and sizes.mean() > LARGE_GROUP:
        warnings.warn(
            f"{what}: an image read at random costs decoding a row group of "
            f"{sizes.mean() / 2**20:.0f} MiB; write the files with row groups of about 100 images",
            stacklevel=3,
        )
