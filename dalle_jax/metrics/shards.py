"""Shards of generated images: several processes can generate them together and resume.

A directory holds `shard_00000064.npz` for the images from 64 on, and so forth. Shards are written
atomically. An incomplete one (after a full disk or an interrupted copy) is detected by its checksum
and generated again. Processes share the work by locks, which the system releases when a process
dies.
"""

import fcntl
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ, write_atomically

SHARD_SIZE = 64


class Shards:
    """The images 0 … num_images − 1 that `identity` determines, in a directory.

    Args:
        root: parent of the directory, whose name is the hash of `identity`.
        identity: all that the images depend on, as plain data; written to `made_of.json`.
        num_images: number of images.
        shard_size: images per shard.
    """

    def __init__(
        self,
        root: str | Path,
        identity: Mapping[str, Any],
        num_images: int,
        shard_size: int = SHARD_SIZE,
    ):
        text = json.dumps({**identity, "shard_size": shard_size}, sort_keys=True)
        self.directory = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:12]
        self.num_images = num_images
        self.shard_size = shard_size
        self._identity = text
        self._complete: set[int] = set()  # shards that were verified

    def make(self, draw: Callable[[range], np.ndarray], progress: Callable[[int], None]) -> int:
        """Generate the missing images and return how many this process generated.

        Shards that another process works on are left to it, and generated here only if it stops.

        Args:
            draw: returns the images uint8 [n, H, W, 3] of a range of indices. It is always called
                for `shard_size` of them, and images beyond `num_images` are discarded, so that an
                image does not depend, even in rounding, on `num_images`.
            progress: called after each shard with the number of images generated so far.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.directory / "made_of.json", lambda file: file.write(self._identity.encode())
        )
        made = 0
        # The second pass waits for the shards that other processes worked on in the first.
        for wait in (False, True):
            for start in self._starts():
                if self._is_complete(start):
                    continue
                with _lock(self.directory / f".{_name(start)}.lock", wait=wait) as locked:
                    if not locked or self._is_complete(start):
                        continue
                    images = draw(range(start, start + self.shard_size))
                    images = images[: self.num_images - start]
                    write_atomically(
                        self.directory / _name(start),
                        lambda file, images=images: np.savez_compressed(file, images=images),
                    )
                    made += len(images)
                    progress(made)
        return made

    def missing(self) -> int:
        """The number of missing images."""
        return sum(
            min(self.shard_size, self.num_images - start)
            for start in self._starts()
            if not self._is_complete(start)
        )

    def load(self) -> "ShardedImages":
        """All images in order, read on demand.

        Raises:
            FileNotFoundError: some are missing.
        """
        if missing := self.missing():
            raise FileNotFoundError(
                f"{self.directory} lacks {missing} of {self.num_images} images; "
                "the same command makes them"
            )
        return ShardedImages(self._read, self.num_images, self.shard_size)

    def _starts(self) -> range:
        return range(0, self.num_images, self.shard_size)

    def _read(self, start: int) -> np.ndarray:
        with np.load(self.directory / _name(start), allow_pickle=False) as archive:
            return archive["images"]

    def _is_complete(self, start: int) -> bool:
        """Whether a shard has all its images; an unreadable one is reported and deleted."""
        path = self.directory / _name(start)
        if not path.exists():
            return False
        if start in self._complete:
            return True
        wanted = min(self.shard_size, self.num_images - start)
        try:
            images = self._read(start)
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise ValueError(f"it holds {images.dtype} {list(images.shape)}")
        except UNREADABLE_NPZ as error:
            warnings.warn(f"{path} can't be read and is generated again: {error}", stacklevel=2)
            path.unlink(missing_ok=True)
            return False
        if len(images) >= wanted:
            self._complete.add(start)
        return start in self._complete


class ShardedImages(Sequence):
    """The images uint8 [H, W, 3] of shards, a few of which are in memory at a time."""

    def __init__(self, read: Callable[[int], np.ndarray], num_images: int, shard_size: int):
        self._read = functools.lru_cache(maxsize=4)(read)
        self._num_images, self._shard_size = num_images, shard_size

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int) -> np.ndarray:
        number = range(self._num_images)[index]
        offset = number % self._shard_size
        return self._read(number - offset)[offset]


def _name(start: int) -> str:
    return f"shard_{start:08d}.npz"


@contextmanager
def _lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock a file until the block or the process ends; yields whether this process has the lock.

    The file is not removed. Otherwise one process could wait for the removed file while another
    holds a new one of the same name.
    """
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            # A file system without locks: two processes may generate the same shard.
            yield True
            return
        yield True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let only one process at a time into this block, among those with the same lock file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path, wait=True):
        yield
