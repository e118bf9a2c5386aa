"""Images made for an evaluation, kept in shards: any number of processes make them, and go on.

A directory holds `shard_00000064.npz` for the images from 64 on, and so forth. A shard is there
whole or not at all, since it is written under another name first; one that is torn all the same
(a full disk, a copy broken off) is noticed by its checksum and made again. Processes share the
work by locks, which the system takes away from a process that dies.
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
    """The images 0 … num_images − 1 that `made_of` determines, in a directory of their own.

    Args:
        root: the directory is made below it; its name is the hash of `made_of`.
        made_of: all that the images depend on, as JSON can hold it; written beside them.
        num_images: how many there are to be.
        shard_size: images a shard.
    """

    def __init__(
        self,
        root: str | Path,
        made_of: Mapping[str, Any],
        num_images: int,
        shard_size: int = SHARD_SIZE,
    ):
        text = json.dumps({**made_of, "shard_size": shard_size}, sort_keys=True)
        self.directory = Path(root) / hashlib.sha256(text.encode()).hexdigest()[:12]
        self.num_images = num_images
        self.shard_size = shard_size
        self._made_of = text
        self._whole: set[int] = set()  # shards that were read through once

    def make(self, draw: Callable[[range], np.ndarray], progress: Callable[[int], None]) -> int:
        """Make what is missing; returns how many images this process made.

        Shards that another process works on are left to it, and made here only if it gives up.
        `draw` gives the images uint8 [n, H, W, 3] of a range of indices; it is always asked for
        `shard_size` of them, of which those from `num_images` on are thrown away: what an image
        is must not depend, not even in rounding, on how many are wanted. `progress` is told how
        many images are there after each shard.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomically(
            self.directory / "made_of.json", lambda file: file.write(self._made_of.encode())
        )
        made = 0
        # The second round waits for the shards that others worked on in the first.
        for wait in (False, True):
            for start in self._starts():
                if self._is_whole(start):
                    continue
                with _lock(self.directory / f".{_name(start)}.lock", wait=wait) as held:
                    if not held or self._is_whole(start):
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
        """How many images are not there yet."""
        return sum(
            min(self.shard_size, self.num_images - start)
            for start in self._starts()
            if not self._is_whole(start)
        )

    def load(self) -> "ShardedImages":
        """All images, in order; read as they are needed.

        Raises:
            FileNotFoundError: some are missing: fewer images than wanted are never given.
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

    def _is_whole(self, start: int) -> bool:
        """Whether a shard is there with all its images; one that can't be read is told and gone."""
        path = self.directory / _name(start)
        if not path.exists():
            return False
        if start in self._whole:
            return True
        wanted = min(self.shard_size, self.num_images - start)
        try:
            images = self._read(start)
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
                raise ValueError(f"it holds {images.dtype} {list(images.shape)}")
        except UNREADABLE_NPZ as error:
            warnings.warn(f"{path} can't be read and is made again: {error}", stacklevel=2)
            path.unlink(missing_ok=True)
            return False
        if len(images) >= wanted:
            self._whole.add(start)
        return start in self._whole


class ShardedImages(Sequence):
    """Images uint8 [H, W, 3] of shards, a few of which are held at a time."""

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
    """Whether this process has the lock; it ends with the block, or with the process.

    The file stays: were it removed, one process could wait for the old file and another hold a new
    one of the same name.
    """
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:
            # A file system without locks: two processes may make one shard, the same one twice.
            yield True
            return
        yield True


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time in this block, among those that name the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock(path, wait=True):
        yield
