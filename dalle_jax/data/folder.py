"""A folder of images with captions in tables or in a file beside each image."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.folder_advice import advice_on
from dalle_jax.data.folder_files import open_folder
from dalle_jax.data.folder_index import FolderIndex, walk_signature
from dalle_jax.data.folder_scan import scan_folder
from dalle_jax.data.index import Index, signature_of
from dalle_jax.data.item_digests import digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.remote_server import shown
from dalle_jax.data.splits import check_split
from dalle_jax.data.user_source import Listing, UserSource


class FolderSource(UserSource):
    """The readable, captioned images of a folder; all others are named in a report.

    Captions come from tables (`metadata` or `captions` with the suffix .jsonl, .json, .csv, .tsv
    or .parquet) that name the images relative to their own folder, else from a `.txt`, `.caption`
    or `.json` of the image's name. An image named several times has several captions.

    Args:
        root: the folder, also by URL; or a table in it, which says what belongs to the data set.
        split: train, validation, test or all.
        options: of `ReadingOptions`.

    Raises:
        FileNotFoundError: there is no such folder or table.
        OSError: a URL can't be read.
        ValueError: a name in a table leads out of the folder, or a table can't be read at all.
    """

    def __init__(self, root: str | Path, split: str = "train", **options: Any):
        given = ReadingOptions(**options)
        check_split(split)
        self._folder, self._only_table = open_folder(root)
        tree = self._folder.tree
        cache = _cache_files(tree.root, self._only_table, given.cache_dir or self._folder.cache)
        signature = walk_signature(tree, self._only_table, *given.read_by)
        super().__init__(f"folder {shown(str(root))}", split, given, cache, signature)

    def _scan(self) -> Index:
        report, index = scan_folder(self._what, self._folder, self._only_table, self._options)
        return Index(report, index.arrays())

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        return FolderIndex.of(arrays).is_sound(len(self._folder.tree.files))

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        self._index = index = FolderIndex.of(arrays)
        ids = [self._folder.tree.files[number].name for number in index.files.tolist()]
        numbers = np.arange(len(ids))
        return Listing(ids, numbers, numbers, index.positions, index.own, index.own_splits)

    def _advice(self) -> str:
        advice = advice_on(self.report, self._folder.tree.root)
        return f".{advice}" if advice else ""

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        if "," in self._options.caption_column:
            item["caption_columns"] = self._index.columns[self._rows[index]]
        return item

    def _read(self, index: int) -> tuple[bytes, Sequence[str]]:
        try:
            encoded = self._folder.read(self._ids[index])
        except OSError as error:
            raise ValueError(str(error)) from error
        return encoded, self._index.captions[self._rows[index]]

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item, also of one that was refused; None where it has none."""
        if item_id.startswith("/") or ".." in item_id.split("/"):
            return None  # The name of a bad row, which may be spelled in any way.
        try:
            return self._folder.read(item_id)
        except (OSError, ValueError, KeyError):
            return None

    def stamp(self) -> str:
        """A hash that changes as soon as an item, its file or its captions may have changed."""
        numbers = self._index.files[self._rows].tolist()
        files = [tuple(self._folder.tree.files[number]) for number in numbers]
        report = (self.report.signature, self.report.content)
        return signature_of([self._folder.tree.root, report, files])

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        files = [self._folder.tree.files[number] for number in self._index.files.tolist()]
        captions = (self._index.captions[i] for i in range(len(files)))
        return digests_of((f.name, (f.size, texts)) for f, texts in zip(files, captions))

    def location(self, index: int) -> str:
        """The file of an item."""
        return self._folder.location(self._ids[index])


def _cache_files(root: str, only_table: str, cache_dir: str | Path | None) -> tuple[Path, Path]:
    """Where the index and the report of a folder, or of a table in it, lie."""
    # A cache_dir serves several folders, and a folder several tables.
    parts = [only_table, *([root] if cache_dir else [])]
    name = hashlib.sha256(os.fsencode("\0".join(parts))).hexdigest()[:12] if any(parts) else ""
    end = f"-{name}" if name else ""
    folder = Path(os.path.expanduser(cache_dir) if cache_dir else root)
    return folder / f"data_index{end}.npz", folder / f"data_report{end}.json"
