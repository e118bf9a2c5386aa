"""The images of a folder, each once whichever of its names or links leads to it."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from dalle_jax.data.walk import File


@dataclass(slots=True)
class Item:
    """An image and what is known of it before it is read."""

    file: File  # by its own name if it lies in the folder, else by its first link's
    key: str  # what its split and the signature of the content depend on
    captions: list[tuple[str, str]] = field(default_factory=list)  # from tables, with their columns
    beside: list[list[str]] = field(default_factory=list)  # caption files in order, for each name
    splits: set[str] = field(default_factory=set)  # of its folders or table; "" for none
    other_split: bool = False  # whether a table puts it in a split of another name
    problem: str | None = None  # why it can't be used

    @property
    def split(self) -> str:
        """The split of its own; "" if it has none."""
        return next((name for name in ("test", "validation", "train") if name in self.splits), "")


class Items:
    """The images found so far, by their identities, in a folder `root` without links in its path.

    `open_file` opens a file by its name in the folder.
    """

    def __init__(self, root: str, open_file: Callable[[str], BinaryIO]):
        self._root, self._open = root, open_file
        self.found: dict[str, Item] = {}
        self._digests: dict[str, str] = {}

    def item(self, file: File) -> Item:
        """The item of an image; all links to it are one."""
        identity = self.identity(file)
        item = self.found.get(identity)
        if item is None:
            item = self.found[identity] = Item(file, unicodedata.normalize("NFC", identity))
        elif (file.real is not None, file.name) < (item.file.real is not None, item.file.name):
            item.file = file
        return item

    def identity(self, file: File) -> str:
        """The image's path in the folder without links; outside of it, its content's hash."""
        if file.real is None:
            return file.name
        if not file.outside:
            return os.path.relpath(file.real, self._root)
        if file.real not in self._digests:
            self._digests[file.real] = self._digest(file)
        return self._digests[file.real]

    def _digest(self, file: File) -> str:
        try:
            with self._open(file.name) as opened:
                return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
        except OSError:
            return f"unreadable:{file.name}"

    def hash_outside(self, files: Iterable[File]) -> None:
        """Read those of the files that lie outside the folder, which takes long one by one."""
        outside = {file.real: file for file in files if file.outside}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            self._digests = dict(zip(outside, threads.map(self._digest, outside.values())))
