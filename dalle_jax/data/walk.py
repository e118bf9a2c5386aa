"""The files below a folder: links followed, circles cut, and what is left out by its reason."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

HIDDEN = "hidden"
SYSTEM = "system file"
BROKEN_LINK = "broken link"
CIRCLE = "link in a circle"
SPECIAL = "no regular file"
UNREADABLE = "unreadable"

# Names, in lower case, of the files of systems and tools.
_SYSTEM_NAMES = (
    "thumbs.db|thumbs.db:encryptable|ehthumbs.db|ehthumbs_vista.db|desktop.ini|icon\r|__macosx|"
    "__pycache__|lost+found|@eadir|@tmp|#recycle|#snapshot|@recycle|@recently-snapshot|~snapshot|"
    "$recycle.bin|recycler|recycled|found.000|network trash folder|temporary items|"
    "system volume information"
)
_SYSTEM_NAMES = frozenset(_SYSTEM_NAMES.split("|"))


class File(NamedTuple):
    """A regular file below the folder."""

    name: str  # its path below the folder, with "/" between the parts
    size: int  # bytes
    mtime_ns: int  # time of the last modification
    real: str | None = None  # the path with all links resolved; None where no link is on the way
    outside: bool = False  # whether `real` lies outside the folder
    ctime_ns: int = 0  # time of the last change of content or status, which nothing sets back


@dataclass(frozen=True)
class Walk:
    """The files below a folder."""

    root: str  # the folder, with all links resolved
    files: list[File]  # ordered by name
    left_out: dict[str, list[str]]  # names by reason, ordered; a folder's ends with "/"


def walk(root: str | Path) -> Walk:
    """All regular files below `root`, in linked folders too.

    Left out are links to a folder above them, `reserved` names, broken links, whatever is neither
    file nor folder, and unreadable folders. A folder that two links lead to is listed under both
    names, so that a file's name does not depend on which other links there are.

    Raises:
        FileNotFoundError: there is no such folder.
        NotADirectoryError: it is no folder.
        PermissionError: it may not be read.
    """
    top = os.path.realpath(root)
    listing = _Listing(top)
    listing.list(top)
    return Walk(
        top,
        sorted(listing.files, key=itemgetter(0)),
        {reason: sorted(names) for reason, names in sorted(listing.left_out.items())},
    )


def reserved(name: str) -> str | None:
    """The reason why the relative path `name` is nobody's data, if any.

    HIDDEN where a part of it begins with a dot, SYSTEM where one is a name that systems and tools
    reserve for their own files.
    """
    reasons = (_reserved_part(part) for part in name.split("/") if part not in (".", ".."))
    return next((reason for reason in reasons if reason), None)


def _reserved_part(part: str) -> str | None:
    if part.startswith("."):
        return HIDDEN
    return SYSTEM if part.lower() in _SYSTEM_NAMES else None


def stem_of(name: str) -> str:
    """A name without its suffix."""
    return os.path.splitext(name)[0]


def suffix_of(name: str) -> str:
    """The suffix of a name with its dot, in lower case."""
    return os.path.splitext(name)[1].lower()


def printable(name: str) -> str:
    """A name fit for a sentence on one line."""
    return name if name.isprintable() else ascii(name)


def first_of(names: Sequence[str], count: int = 3) -> str:
    """The first of some names, for a sentence."""
    return ", ".join(map(printable, names[:count])) + (", …" if len(names) > count else "")


def describe(left_out: Mapping[str, Sequence[str]]) -> str:
    """One phrase about the entries that were left out: "2 hidden (.a, .b), 1 broken link (c)"."""
    parts = (f"{len(names)} {reason} ({first_of(names)})" for reason, names in left_out.items())
    return ", ".join(parts)


class _Folder(NamedTuple):
    """A folder on the way down."""

    name: str  # with a final "/"; "" for the top
    path: str  # without links
    chain: tuple[tuple[int, int], ...]  # device and inode of this folder and of all above it
    linked: bool = False  # whether a link leads to one of these


@dataclass
class _Listing:
    top: str
    files: list[File] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    _real_folders: dict[str, str] = field(default_factory=dict)

    def list(self, top: str) -> None:
        status = os.stat(top)
        folders = [_Folder("", top, ((status.st_dev, status.st_ino),))]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder.path) as entries:
                    for entry in entries:
                        below = self._entry(folder, entry)
                        if below is not None:
                            folders.append(below)
            except OSError:
                if not folder.name:
                    raise
                self._leave_out(UNREADABLE, folder.name)

    def _entry(self, folder: _Folder, entry: os.DirEntry) -> _Folder | None:
        """Note a file, or return the folder that the entry is."""
        name = folder.name + entry.name
        reason = _reserved_part(entry.name)
        is_link = entry.is_symlink()
        try:
            status = entry.stat()
        except FileNotFoundError:
            return self._leave_out(reason or BROKEN_LINK, name)
        except OSError:  # A circle of links, or one into a folder that may not be read.
            return self._leave_out(reason or (BROKEN_LINK if is_link else UNREADABLE), name)
        is_folder = stat.S_ISDIR(status.st_mode)
        if reason:
            return self._leave_out(reason, name + "/" if is_folder else name)
        if is_folder:
            identity = (status.st_dev, status.st_ino)
            linked = folder.linked or is_link
            if linked and identity in folder.chain:
                return self._leave_out(CIRCLE, name + "/")
            # The path stays free of links, so that a file's real path is folder and name.
            path = os.path.realpath(entry.path) if is_link else entry.path
            return _Folder(name + "/", path, (*folder.chain, identity), linked)
        if not stat.S_ISREG(status.st_mode):
            return self._leave_out(SPECIAL, name)
        real, outside = None, False
        if is_link or folder.linked:
            real = self._target(folder, entry) if is_link else entry.path
            outside = not real.startswith(self.top.rstrip("/") + "/")
        self.files.append(
            File(name, status.st_size, status.st_mtime_ns, real, outside, status.st_ctime_ns)
        )
        return None

    def _target(self, folder: _Folder, entry: os.DirEntry) -> str:
        """The real path of a linked file; that of its folder is looked up once for all files."""
        where, base = os.path.split(os.path.join(folder.path, os.readlink(entry.path)))
        if where not in self._real_folders:
            self._real_folders[where] = os.path.realpath(where)
        path = os.path.join(self._real_folders[where], base)
        return os.path.realpath(path) if os.path.islink(path) else path

    def _leave_out(self, reason: str, name: str) -> None:
        self.left_out.setdefault(reason, []).append(name)
