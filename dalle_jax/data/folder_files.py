"""The files of a folder, on this machine or by URL: listed, named, opened and read."""

import io
import os
import posixpath
import re
from collections import defaultdict
from pathlib import Path
from typing import BinaryIO

from dalle_jax.data import remote, remote_server
from dalle_jax.data.index import is_own_file
from dalle_jax.data.tables import TABLE_SUFFIXES
from dalle_jax.data.walk import File, Walk, reserved, walk
from dalle_jax.files import cache_folder

# A caption is read from the first of these that is not empty.
CAPTION_SUFFIXES = (".txt", ".caption", ".json")
TABLE_NAMES = frozenset(
    f"{name}{end}" for name in ("metadata", "captions") for end in TABLE_SUFFIXES
)
# As captions_train2017.json: the split, and the rest, by which files belong together.
COCO = re.compile(r"captions_([a-z]+)(\w*)\.json")
KARPATHY = re.compile(r"dataset(_\w+)?\.json")
IMG2DATASET = re.compile(r"\d+(\.parquet|\.csv|_stats\.json)")


class LocalFolder:
    """A folder of this machine, as the user has `given` it."""

    tree: Walk  # its files, without reports and indices that this package wrote
    is_remote = False  # whether it is reached by URL
    cache: Path | None = None  # folder of its report and index; None for the folder itself
    num_threads: int | None = None  # that read at once; None for one per core

    def __init__(self, given: str):
        self.given = given
        self.tree = _without_own_files(walk(given))
        self._prefix = os.path.join(self.tree.root, "")

    def open(self, name: str) -> BinaryIO:
        """A file as a binary stream."""
        return open(self.location(name), "rb")

    def read(self, name: str) -> bytes:
        """The content of a file; an OSError if it can't be read."""
        with open(self._prefix + name, "rb", buffering=0) as file:
            return file.read()

    def location(self, name: str) -> str:
        """Where a file lies, for messages."""
        return f"{self._prefix}{name}"


class RemoteFolder(LocalFolder):
    """A folder by URL, whose report and index are written to this machine.

    Raises:
        FileNotFoundError: there is no such folder, or nothing in it.
        OSError: it can't be listed.
    """

    is_remote = True
    num_threads = remote_server.REQUESTS

    def __init__(self, given: str):
        self.given = given
        self.cache = cache_folder("data")
        self._files = remote.list_folder(given)
        left_out: dict[str, list[str]] = defaultdict(list)
        files: list[File] = []
        for name, file in sorted(self._files.items()):
            if reason := reserved(name):
                left_out[reason].append(name)
            else:
                # What the server says of a version serves as the time of a change.
                files.append(File(name, file.size, int(file.version[:15], 16)))
        if not files:
            raise FileNotFoundError(f"there are no files in {remote_server.shown(given)}")
        self.tree = _without_own_files(Walk(given.rstrip("/"), files, dict(left_out)))

    def open(self, name: str) -> BinaryIO:
        """A file as a binary stream."""
        return io.BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        """The content of a file; a RemoteError if the connection broke several times."""
        return self._files[name].read_all()

    def location(self, name: str) -> str:
        """The URL of a file, without credentials."""
        return str(self._files[name])


def open_folder(root: str | Path) -> tuple[LocalFolder, str]:
    """The folder, and the name of the only table to read where `root` is a table in it, else "".

    Raises:
        FileNotFoundError: there is no such folder or table.
        ValueError: `root` is a file, but no table.
    """
    if remote_server.is_url(str(root)):
        url = str(root)
        if not url.partition("?")[0].lower().endswith(TABLE_SUFFIXES):
            return RemoteFolder(url), ""
        table = remote.find_file(url, ranges=False).name
        folder, table = _with_images(url.rpartition("/")[0], table)
        return RemoteFolder(folder), table
    given = os.path.expanduser(re.sub(r"^file://", "", str(root), flags=re.IGNORECASE))
    if os.path.isfile(given):
        folder, table = os.path.split(os.path.abspath(given))
        if not table.lower().endswith(TABLE_SUFFIXES):
            raise ValueError(
                f"{root} is a file, but no table of captions, which ends in "
                f"{', '.join(TABLE_SUFFIXES)}"
            )
        folder, table = _with_images(folder, table)
        return LocalFolder(folder), table
    if not os.path.isdir(given):
        raise FileNotFoundError(f"there is no folder {given}")
    return LocalFolder(given), ""


def _with_images(folder: str, table: str) -> tuple[str, str]:
    """The folder that holds a table's images, and the table in it.

    COCO's and Karpathy's files in a folder `annotations` describe the images in those beside it.
    """
    above, name = posixpath.split(folder)
    if name == "annotations" and above and (COCO.fullmatch(table) or KARPATHY.fullmatch(table)):
        return above, f"{name}/{table}"
    return folder, table


def _without_own_files(tree: Walk) -> Walk:
    """The tree without reports and indices that this package wrote into it."""
    files = [file for file in tree.files if not is_own_file(file.name)]
    return Walk(tree.root, files, tree.left_out)
