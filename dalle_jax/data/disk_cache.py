"""Images that do not fit in memory, prepared once and then read from a file in the cache folder.

The file has one record an item, each of the image's bytes and 4096 more: a digest of 16 bytes, the
length of the captions (uint32), the image (uint8 [H, W, 3]) and the captions as JSON. The digest is
BLAKE2b of what follows it; its key is a hash of the data, the image size, the code and Pillow's
libraries, its salt the item's number.

So any number of processes read and write it at once without a lock: a record that is missing, torn
by a kill, or of something else fits no digest, and its item is prepared again.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import struct
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features

from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.source import MEMORY_LIMIT, Source, Wrapper, fits_in_memory
from dalle_jax.files import cache_folder

_HEADER = struct.Struct("<16sI")
_BESIDE_IMAGE = 4096  # bytes of a record: its header and its captions
_CODECS = ("pil", "jpg", "libjpeg_turbo", "jpg_2000", "webp", "avif", "libtiff", "zlib")


class OnDisk(Wrapper):
    """A source whose items are prepared at their first visit and then read from a file.

    Args:
        source: of the items.
        image_size: H = W.
        resize_filter: a key of `images.RESIZE_FILTERS`.
        path: of the file; created if missing.
        key: at most 64 bytes that differ wherever an item may.
        num_bytes: the file's limit; items whose records lie beyond are prepared at each visit.

    Raises:
        OSError: the file can't be written, or `num_bytes` hold no record.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        resize_filter: str,
        path: Path,
        key: bytes,
        num_bytes: int,
    ):
        super().__init__(source)
        self._resize_filter, self._path, self._key = resize_filter, path, key
        self._shape = (image_size, image_size, 3)
        self._image_bytes = 3 * image_size**2
        self._record_bytes = _record_bytes(image_size)
        self._num_records = min(num_bytes // self._record_bytes, len(source))
        if self._num_records <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._num_bytes = self._num_records * self._record_bytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        weakref.finalize(self, os.close, self._file)
        # Its whole size at once, which takes no space yet, so that others see what it may take.
        if os.fstat(self._file).st_size != self._num_bytes:
            os.ftruncate(self._file, self._num_bytes)
        os.utime(path)
        self.signature = getattr(source, "signature", "")

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = int(index)
        has_record = 0 <= index < self._num_records
        item = self._read(index) if has_record else None
        if item is None:
            whole = self._source[index]
            image = center_crop_resize(whole["image"], self._shape[0], self._resize_filter)
            texts = {name: whole[name] for name in ("caption", "captions") if name in whole}
            item = {"image": image, **texts}
            if has_record:
                self._write(index, image, texts)
        return item

    def __str__(self) -> str:
        return (
            f"{self._num_records:,} of {len(self):,} images are decoded once and then read from "
            f"{self._path}, at most {self._num_bytes / 1e9:.1f} GB"
        )

    def _read(self, index: int) -> dict[str, Any] | None:
        try:
            record = os.pread(self._file, self._record_bytes, index * self._record_bytes)
        except OSError:
            return None
        if len(record) < self._record_bytes:
            return None
        digest, length = _HEADER.unpack_from(record)
        content = memoryview(record)[16 : _HEADER.size + self._image_bytes + length]
        if digest != self._digest(index, content):
            return None
        image = np.frombuffer(record, np.uint8, self._image_bytes, _HEADER.size)
        texts = json.loads(bytes(content[4 + self._image_bytes :]))
        if "captions" in texts:
            texts["captions"] = tuple(texts["captions"])
        return {"image": image.reshape(self._shape), **texts}

    def _write(self, index: int, image: np.ndarray, texts: Mapping[str, Any]) -> None:
        encoded = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if _HEADER.size + len(encoded) > _BESIDE_IMAGE:
            return
        content = struct.pack("<I", len(encoded)) + image.tobytes() + encoded
        record = self._digest(index, content) + content
        try:
            os.pwrite(self._file, record, index * self._record_bytes)
        except OSError as error:
            self._num_records = 0
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)  # Checkpoints need the space more.
            _warn(self._path, error)

    def _digest(self, index: int, content: bytes | memoryview) -> bytes:
        salt = index.to_bytes(16, "little")
        return hashlib.blake2b(content, digest_size=16, key=self._key, salt=salt).digest()


def on_disk(
    source: Source,
    image_size: int,
    *,
    limit: int,
    memory_limit: int = MEMORY_LIMIT,
    resize_filter: str = "lanczos",
    folder: Path | None = None,
) -> Source:
    """`source` as an `OnDisk` if its images take more than `memory_limit` bytes, else itself.

    All that read the same data at the same size share a file. What does not fit, or can't be
    written (which gives a warning), is decoded at each visit.

    Args:
        source: one without a `stamp`, which is drawn at its size already, is left as it is.
        image_size: H = W.
        limit: bytes of all such files, of which the least recently used are deleted; at most half
            of the free disk is used. 0 is none.
        memory_limit: of `loader.keep_in_memory`.
        resize_filter: a key of `images.RESIZE_FILTERS`.
        folder: of the files; the user's cache folder if None.
    """
    if not (limit and hasattr(source, "stamp")) or fits_in_memory(source, image_size, memory_limit):
        return source
    folder = folder or cache_folder("data")
    parts = (source.stamp(), image_size, resize_filter, *_code())
    key = hashlib.blake2b(repr(parts).encode()).digest()
    path = folder / f"images-{key.hex()[:16]}.bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        room = _make_room(path, _record_bytes(image_size) * len(source), limit)
        return OnDisk(source, image_size, resize_filter, path, key, room)
    except OSError as error:
        _warn(path, error)
        return source


def _record_bytes(image_size: int) -> int:
    return 3 * image_size**2 + _BESIDE_IMAGE


def _code() -> list[str]:
    """What an item depends on besides the data: this folder's code and Pillow's libraries."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    code = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    return [code, *(str(features.version(name)) for name in _CODECS)]


def _make_room(path: Path, wanted: int, limit: int) -> int:
    """Delete files, the least recently used first, and return the bytes that a new one may have."""
    others, taken = [], 0
    for file in path.parent.glob("images-*.bin"):
        with contextlib.suppress(FileNotFoundError):  # Another process deletes it.
            status = file.stat()
            taken += status.st_blocks * 512
            if file != path:
                others.append((status.st_mtime_ns, status.st_size, file))
    limit = min(limit, (shutil.disk_usage(path.parent).free + taken) // 2)
    used = sum(size for _, size, _ in others)
    for _, size, file in sorted(others):
        if used + wanted <= limit:
            break
        file.unlink(missing_ok=True)
        used -= size
    return min(wanted, limit - used)


def _warn(path: Path, error: OSError) -> None:
    warnings.warn(
        f"{path} can't be written ({error.strerror or error}), so images are decoded at each "
        "visit; XDG_CACHE_HOME names another folder, data.disk_cache=0 is none",
        stacklevel=3,
    )
