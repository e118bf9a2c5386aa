"""Parquet files with embedded images and captions, as Hugging Face and img2dataset write them."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Finding, about_to_scan, inspect_item, scan, signature_of
from dalle_jax.data.files import cache_of, describe_spec, find_files, labels_of, stamp_of
from dalle_jax.data.former_splits import warn_of_counted_splits
from dalle_jax.data.images import decode
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.parquet_index import ParquetIndex, is_of_version_1, survey
from dalle_jax.data.parquet_table import CACHE_BYTES, RowGroups
from dalle_jax.data.splits import (
    OTHER_CELL,
    SPLITS,
    check_split,
    describe_own_splits,
    mask_of_split,
    split_numbers,
    split_of,
    split_positions,
    splits_there,
    warn_of_named_splits,
)
from dalle_jax.data.text import (
    CAPTION_KEYS,
    captions_of_lines,
    captions_of_record,
    decode_text,
)

LARGE_GROUP = 2**25  # bytes
_OWN = {"": 0, **{name: 1 + place for place, name in enumerate(SPLITS)}}


class ParquetSource:
    """Rows of Parquet files with an image in one column and captions in others.

    `files` is what `find_files` takes: names, globs, braces, a folder, URLs. `options` are those of
    `ReadingOptions`. Row groups are decoded when one of their rows is asked for. An item's split is
    what a column `split` says, else it follows from the content of its image: it stays where it is
    whatever the order of the rows and the names of the files. Rows of one image are never in two
    splits.

    Attributes:
        splits: that the data has, of its own or by a hash.
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
        check_split(split)
        self._files = find_files(files, ".parquet")
        labels = labels_of(self._files)
        index_path, report_path = cache_of(self._files, options.columns, options.cache_dir)
        status = [(file.name, file.size, file.version) for file in self._files]
        signature = signature_of([*status, *options.columns, options.encoding])
        index = ParquetIndex.load(index_path, signature, len(self._files))
        knew_no_splits = index is None and is_of_version_1(index_path, signature)
        if fresh := index is None:
            about_to_scan(is_known=report_path.exists())
            index = survey(self._files, options.image_column, options.caption_column)
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
                encoded, captions, cell = self._parts(*places[i].tolist())
            except ValueError as error:
                return Finding(str(error), content=ids[i])
            if encoded is None:
                return Finding("no image embedded", content=ids[i])
            own, is_other = split_of(cell)
            index.digests[i], index.own[i] = digest, _ = _digest(encoded), _OWN[own]
            content = (digest, len(encoded), captions, *([own] if own else []))
            finding = inspect_item(encoded, captions, options, content)
            if is_other and finding.is_used and finding.note is None:
                finding = finding._replace(note=OTHER_CELL)
            return finding

        read_by = [options.min_side, options.max_aspect_ratio]
        read_by += ["split"] if any(columns.split for columns in index.columns) else []
        good, self.report = scan(
            what,
            ids,
            inspect,
            signature=signature_of([signature, *read_by]),
            report_path=report_path,
            max_bad_share=options.max_bad_share,
        )
        for i in good[index.digests[good] == b""]:  # of a report whose index was lost
            encoded, _, cell = self._parts(*places[i].tolist())
            index.digests[i], index.own[i] = _digest(encoded), _OWN[split_of(cell)[0]]
        if fresh:
            index.save(index_path, signature)
        self.signature = self.report.content
        keys = [digest.decode() for digest in index.digests[good].tolist()]
        own_splits = tuple(name for name in SPLITS if (index.own == _OWN[name]).any())
        own = _joined(keys, index.own[good], what)
        self.report.what = what + describe_own_splits(own_splits, "each image")
        self.splits = splits_there(own, own_splits)
        if split not in ("all", *self.splits):
            raise ValueError(
                f"{self.report.what} has no {split} split; its column of splits has "
                f"{', '.join(own_splits)}."
            )
        positions = split_positions(keys)
        if knew_no_splits:
            warn_of_counted_splits(what, positions, own, own_splits, options.shares)
        numbers = split_numbers(positions, own=own, own_splits=own_splits, **options.shares)
        mask = mask_of_split(numbers, split)
        self._digests = keys[:MAX_ITEMS]
        refused = np.setdiff1d(np.arange(len(places)), good).tolist()
        self._refused = {ids[i]: places[i] for i in refused}
        self._places = places[good[mask]]
        self._ids = [ids[i] for i in good[mask]]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            encoded, captions, _ = self._parts(*self._places[index].tolist())
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

    def stamp(self) -> str:
        """A hash that is another as soon as an item may be."""
        return stamp_of(self._files, self.report.signature, self._ids)

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        return digests_of((digest, "") for digest in self._digests)

    def _parts(self, file: int, group: int, row: int) -> tuple[bytes | None, list[str], Any]:
        """The encoded image of a row, None where there is none, its captions and its split."""
        try:
            encoded, record, split = self._rows.row(file, group, row)
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
        captions = captions or [""] * any(value is not None for value in record.values())
        return encoded, captions, split


def _digest(encoded: bytes) -> bytes:
    return hashlib.sha256(encoded).hexdigest()[:32].encode()


def _joined(keys: Sequence[str], own: np.ndarray, what: str) -> np.ndarray:
    """The splits of rows [N], those of one image in the last of train, validation and test."""
    _, number = np.unique(keys, return_inverse=True)
    last = np.zeros(len(keys), own.dtype)
    np.maximum.at(last, number, own)
    joined = last[number]
    if moved := int((joined != own).sum()):
        warnings.warn(
            f"{what}: {moved} rows have the image of a row in another split, and are in that of "
            "both which comes last among train, validation, test.",
            stacklevel=3,
        )
    return joined


def _warn_of_large_groups(what: str, groups: np.ndarray) -> None:
    sizes = groups[:, 3]
    if sizes.sum() > CACHE_BYTES and sizes.mean() > LARGE_GROUP:
        warnings.warn(
            f"{what}: an image read at random costs decoding a row group of "
            f"{sizes.mean() / 2**20:.0f} MiB; write the files with row groups of about 100 images.",
            stacklevel=3,
        )
