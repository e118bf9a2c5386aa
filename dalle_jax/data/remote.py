"""Files by URL (https, gs, s3, memory …): found, listed and read in parts through fsspec."""

import hashlib
import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from dalle_jax.data.remote_server import (
    RefusedError,
    RemoteError,
    by_http,
    in_threads,
    open_server,
    repeat,
    shown,
    split_url,
)

BLOCK = 8 * 2**20  # bytes
BLOCKS = 4

# What several servers call the parts of a file's description that change when its content does.
_VERSIONS = ("ETag", "etag", "Content-MD5", "md5Hash", "content_md5", "generation", "Last-Modified")
_VERSIONS += ("LastModified", "last_modified", "updated", "mtime", "created", "blob_id")
_ranges_answered: dict[str, bool] = {}  # by server


@dataclass(frozen=True)
class RemoteFile:
    """A file by URL. `version` changes when its content does, as far as its server says so."""

    url: str
    size: int
    version: str

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return unquote(split_url(self.url).path.rstrip("/").rpartition("/")[2])

    @property
    def identity(self) -> str:
        """Equal for two names of one file."""
        return self.url

    @property
    def address(self) -> str:
        """The whole URL."""
        return self.url

    def __str__(self) -> str:
        return shown(self.url)

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file.

        An OSError if the connection broke `TRIES` times, or the server does not answer ranges.
        """
        size = min(size, self.size - offset)
        return self._fetch(size, start=offset, end=offset + size) if size > 0 else b""

    def read_all(self) -> bytes:
        """The whole file, also of a server without ranges; an OSError as of `read`."""
        return self._fetch(self.size)

    def _fetch(self, size: int, **part: int) -> bytes:
        files, path = open_server(self.url)

        def read() -> bytes:
            content = files.cat_file(path, **part)
            if part and len(content) > size:
                raise _no_ranges(self.url)
            if len(content) != size:
                raise OSError(f"{len(content)} of {size} bytes came")
            return content

        return repeat(self.url, read)

    def read_ahead(self) -> "ReadAhead":
        """A reader for reading mostly in order."""
        return ReadAhead(self)

    def open(self) -> io.BufferedReader:
        """The file as a binary stream that can seek."""
        return io.BufferedReader(_Stream(self), 2**20)


def find_file(url: str, ranges: bool = True) -> RemoteFile:
    """The file of a URL; with `ranges` its server must answer requests for parts of it.

    Raises:
        FileNotFoundError: there is none.
        OSError: it can't be reached, has no stated size, or its server does not answer ranges.
    """
    files, path = open_server(url)
    found = repeat(url, lambda: files.info(path))
    if found.get("type") == "directory":
        raise IsADirectoryError(f"{shown(url)} is a folder")
    return _describe(url, found, ranges)


def is_folder(url: str) -> bool:
    """Whether a URL is that of a folder: for https, one that ends with a slash."""
    files, path = open_server(url)
    if by_http(url):
        return split_url(url).path.endswith("/")
    return repeat(url, lambda: files.isdir(path))


def match_files(pattern: str) -> list[RemoteFile]:
    """The files that a URL with `*`, `**`, `?` or `[ ]` matches, sorted by URL."""
    from fsspec.utils import glob_translate

    if by_http(pattern):
        beginning = re.split(r"[*[]", pattern, maxsplit=1)[0].rpartition("/")[0] + "/"
        depth = None if "**" in pattern else pattern.count("/") - beginning.count("/")
        matches = re.compile(glob_translate(pattern)).fullmatch
        return _described((url, {}) for url in _links(beginning, depth) if matches(url))
    files, path = open_server(pattern)
    found = repeat(pattern, lambda: files.glob(path, detail=True))
    return _described((files.unstrip_protocol(name), about) for name, about in found.items())


def list_folder(folder: str) -> dict[str, RemoteFile]:
    """All files below the folder of a URL, by their paths in it."""
    folder = folder.rstrip("/") + "/"
    if by_http(folder):
        urls = _links(folder, None)
        files = in_threads(lambda url: find_file(url, ranges=False), urls)
        return dict(zip((unquote(url[len(folder) :]) for url in urls), files))
    files, path = open_server(folder)
    found = repeat(folder, lambda: files.find(path, detail=True))
    return {
        name[len(path) :].lstrip("/"): _describe(files.unstrip_protocol(name), about)
        for name, about in found.items()
        if name != path and about.get("type") != "directory"
    }


def _links(folder: str, depth: int | None) -> list[str]:
    """URLs of the files that the pages of a folder link to, down to `depth` folders below it.

    fsspec would take an unreadable page for an empty one.

    Raises:
        FileNotFoundError: the server has no such page, or it links to nothing below it.
    """
    found: list[str] = []
    folders = [(folder, 0)]
    seen = {folder}
    while folders:
        page, level = folders.pop()
        files, path = open_server(page)
        try:
            entries = repeat(page, lambda files=files, path=path: files.ls(path, detail=False))
        except FileNotFoundError:
            entries = []
        for url in entries:
            name = url[len(page) :]
            is_below = url.startswith(page) and name
            if url in seen or not is_below or re.search(r"[?#]|(^|/)\.\.?(/|$)", name):
                continue
            seen.add(url)
            if not url.endswith("/"):
                found.append(url)
            elif depth is None or level < depth:
                folders.append((url, level + 1))
    if not found:
        raise FileNotFoundError(
            f"{shown(folder)} lists no files: a server of https need not list what it has; name "
            "the files, for example with {000..127} in the URL"
        )
    return found


def _described(found: Iterable[tuple[str, dict[str, Any]]]) -> list[RemoteFile]:
    def describe(pair: tuple[str, dict[str, Any]]) -> RemoteFile:
        # A page of https links to a file without saying its size.
        return find_file(pair[0]) if pair[1].get("size") is None else _describe(*pair)

    files = [pair for pair in found if pair[1].get("type") != "directory"]
    return sorted(in_threads(describe, files), key=lambda file: file.url)


def _describe(url: str, about: dict[str, Any], ranges: bool = True) -> RemoteFile:
    size = about.get("size")
    if size is None:
        raise RemoteError(f"the server of {shown(url)} does not say how large it is: download it")
    said = [f"{key}={about[key]}" for key in _VERSIONS if about.get(key)]
    file = RemoteFile(url, int(size), hashlib.sha256("\n".join(said).encode()).hexdigest()[:32])
    if ranges:
        _check_ranges(file, about)
    return file


def _check_ranges(file: RemoteFile, about: dict[str, Any]) -> None:
    """Raise an OSError if the server of a file, asked once, sends whole files only."""
    parts = split_url(file.url)
    if not by_http(file.url) or file.size < 3:
        return
    if parts.netloc not in _ranges_answered:
        files, path = open_server(file.url)

        def answers() -> bool:
            with files.open(path, block_size=1, cache_type="none", size=file.size) as opened:
                opened.seek(1)
                try:
                    return len(opened.read(1)) == 1
                except ValueError:  # By this fsspec says that the whole file came.
                    return False

        _ranges_answered[parts.netloc] = about.get("partial", True) and repeat(file.url, answers)
    if not _ranges_answered[parts.netloc]:
        raise _no_ranges(file.url)


def _no_ranges(url: str) -> OSError:
    return RefusedError(
        f"the server of {shown(url)} sends whole files only (no HTTP Range), which reading at "
        "random needs: download the files"
    )


class ReadAhead:
    """A reader of a remote file mostly in order, in blocks of which the last are cached."""

    def __init__(self, file: RemoteFile, block: int = BLOCK, blocks: int = BLOCKS):
        self._file, self._block, self._max_blocks = file, block, blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file."""
        size = min(size, self._file.size - offset)
        if size > self._block:
            return self._file.read(offset, size)
        parts = []
        while size > 0:
            number, start = divmod(offset, self._block)
            part = self._get(number)[start : start + size]
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return b"".join(parts)

    def _get(self, number: int) -> bytes:
        # One thread fetches, the others wait: most of them want the same block.
        with self._lock:
            if number not in self._blocks:
                self._blocks[number] = self._file.read(number * self._block, self._block)
                while len(self._blocks) > self._max_blocks:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
            return self._blocks[number]


class _Stream(io.RawIOBase):
    """A remote file as a raw stream."""

    def __init__(self, file: RemoteFile):
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(self._position, len(buffer))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
