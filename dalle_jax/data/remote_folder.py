"""A folder of images with captions by URL: listed once, each file read whole."""

import io
from pathlib import Path
from typing import Any, BinaryIO

from dalle_jax.data.folder import FolderSource
from dalle_jax.data.remote import REQUESTS, cache_folder, find_file, list_folder, shown
from dalle_jax.data.tables import TABLE_SUFFIXES
from dalle_jax.data.walk import File, Walk, reserved


class RemoteFolderSource(FolderSource):
    """As `FolderSource`, of a folder, or a table in it, by URL.

    Its report and index are kept in the user's cache folder, or in `cache_dir`.

    Raises:
        FileNotFoundError: there is no such folder, or its server lists no files.
        OSError: a file can't be read.
        ValueError: what `FolderSource` raises.
    """

    _num_threads = REQUESTS

    def __init__(
        self,
        url: str,
        split: str = "train",
        *,
        cache_dir: str | Path | None = None,
        **options: Any,
    ):
        super().__init__(url, split, cache_dir=cache_dir or cache_folder(), **options)

    def _list(self, url: str) -> tuple[Walk, str, str]:
        only_table = ""
        if url.partition("?")[0].lower().endswith(TABLE_SUFFIXES):
            table = find_file(url)
            url, only_table = url.rpartition("/")[0], table.name
        self._by_name = list_folder(url)
        files: list[File] = []
        left_out: dict[str, list[str]] = {}
        for name, file in sorted(self._by_name.items()):
            if reason := reserved(name):
                left_out.setdefault(reason, []).append(name)
            else:
                # The version takes the part of the time of modification.
                files.append(File(name, file.size, int(file.version[:15], 16)))
        if not files:
            raise FileNotFoundError(f"There are no files in {shown(url)}.")
        return Walk(url.rstrip("/"), files, left_out), only_table, url

    def place(self, index: int) -> str:
        """The URL of an item."""
        return str(self._by_name[self._names[index]])

    def _open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._read(name))

    def _read(self, name: str) -> bytes:
        return self._by_name[name].read_all()
