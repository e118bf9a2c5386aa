"""A folder of images with captions in tables or in a file beside each image."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Report, about_to_scan, signature_of
from dalle_jax.data.folder_advice import advice_on
from dalle_jax.data.folder_files import open_folder
from dalle_jax.data.folder_index import FolderIndex, walk_signature
from dalle_jax.data.folder_scan import scan_folder
from dalle_jax.data.former_splits import warn_of_moved
from dalle_jax.data.images import decode
from dalle_jax.data.item_digests import digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.remote_server import shown
from dalle_jax.data.splits import (
    check_split,
    describe_own_splits,
    mask_of_split,
    split_numbers,
    splits_there,
)

REPORT, INDEX = "data_report", "data_index"


class FolderSource:
    """The readable, captioned images of a folder; all others are named in a report.

    Captions come from tables (`metadata` or `captions` with the suffix .jsonl, .json, .csv, .tsv
    or .parquet) that name the images relative to their own folder, else from a `.txt`, `.caption`
    or `.json` of the image's name. An image named several times has several captions.

    Attributes:
        splits: that the folder has, of its own or by a hash of the items' names.
        report: of what is used and what is not.

    Args:
        root: the folder, also by URL; or a table in it, which says what belongs to the data set.
        split: train, validation, test or all.
        options: of `ReadingOptions`.

    Raises:
        FileNotFoundError: there is no such folder or table.
        OSError: a URL can't be read.
        ValueError: more than `max_bad_share` of the items are bad, a name in a table leads out of
            the folder, or a table of captions cannot be read at all.
    """

    def __init__(self, root: str | Path, split: str = "train", **options: Any):
        self._options = options = ReadingOptions(**options)
        check_split(split)
        self._folder, only_table = open_folder(root)
        tree = self._folder.tree
        self._what = f"folder {shown(str(root))}"
        signature = walk_signature(tree, only_table, *_read_by(options))
        cache = options.cache_dir or self._folder.cache
        report_path, index_path = _cache_files(tree.root, only_table, cache)
        index = FolderIndex.load(index_path, signature, len(tree.files))
        if index is None:
            about_to_scan(is_known=report_path.exists())
            former = Report.load(Path(cache or tree.root) / f"{REPORT}.json")
            index, items = scan_folder(self._what, self._folder, only_table, options, signature)
            if former is not None and not former.content:  # Of a version before signatures.
                warn_of_moved(self._what, former, items, index, options.shares)
            index.report.save(report_path)
            index.save(index_path)
        elif not report_path.exists():
            index.report.save(report_path)
        self.report = index.report
        self.report.path = report_path
        self.report.what = self._what + describe_own_splits(index.own_splits, "each item's name")
        self._check(options.max_bad_share)
        if self.report.skipped or self.report.left_out or self.report.noted:
            warnings.warn(f"{self.report} All are named in {report_path}.", stacklevel=2)
        numbers = split_numbers(
            index.positions, own=index.own, own_splits=index.own_splits, **options.shares
        )
        mask = mask_of_split(numbers, split)
        self.splits = splits_there(index.own, index.own_splits)
        if split not in ("all", *self.splits):
            raise ValueError(
                f"{self.report.what} has no {split} split; it has {', '.join(index.own_splits)}."
            )
        self._index = index
        self._numbers = np.flatnonzero(mask)  # of the items among those of the index
        self._names = [tree.files[number].name for number in index.files[mask].tolist()]

    @property
    def signature(self) -> str:
        """A hash of the keys, sizes and captions of all splits, wherever the folder lies."""
        return self.report.content

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = self._numbers[index]
        name = self._names[index]
        try:
            image = decode(self._folder.read(name))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.place(index)}, readable when the folder was opened, is not: {error}."
            ) from error
        captions = self._index.captions[number]
        item = {"image": image, "caption": captions[0], "captions": captions, "id": name}
        if "," in self._options.caption_column:
            item["caption_columns"] = self._index.columns[number]
        return item

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item, also of one that was refused; None where it has none."""
        if item_id.startswith("/") or ".." in item_id.split("/"):
            return None  # The name of a bad row, which may be spelled in any way.
        try:
            return self._folder.read(item_id)
        except (OSError, ValueError, KeyError):
            return None

    def stamp(self) -> str:
        """A hash that is another as soon as an item, its file or its captions may be."""
        numbers = self._index.files[self._numbers].tolist()
        files = [tuple(self._folder.tree.files[number]) for number in numbers]
        report = (self.report.signature, self.report.content)
        return signature_of([self._folder.tree.root, report, files])

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        files = [self._folder.tree.files[number] for number in self._index.files.tolist()]
        captions = (self._index.captions[i] for i in range(len(files)))
        return digests_of((f.name, (f.size, texts)) for f, texts in zip(files, captions))

    def place(self, index: int) -> str:
        """The file of an item."""
        return self._folder.place(self._names[index])

    def _check(self, max_bad_share: float) -> None:
        try:
            self.report.check(max_bad_share)
        except ValueError as error:
            advice = advice_on(self.report, self._folder.tree.root)
            raise ValueError(f"{error}{advice}") from None


def _read_by(o: ReadingOptions) -> tuple:
    """The options that what a scan finds depends on."""
    return o.encoding, o.image_column, o.caption_column, o.min_side, o.max_aspect_ratio


def _cache_files(root: str, only_table: str, cache_dir: str | Path | None) -> tuple[Path, Path]:
    """Where the report and the index of a folder, or of a table in it, are kept."""
    # A cache_dir serves several folders, and a folder several tables.
    told = [only_table, *([root] if cache_dir else [])]
    name = hashlib.sha256(os.fsencode("\0".join(told))).hexdigest()[:12] if any(told) else ""
    end = f"-{name}" if name else ""
    folder = Path(os.path.expanduser(cache_dir) if cache_dir else root)
    return folder / f"{REPORT}{end}.json", folder / f"{INDEX}{end}.npz"
