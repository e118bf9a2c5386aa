"""What a folder's scan found, as arrays, so that loading it again reads no caption."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.index import VERSION, are_numbers_of
from dalle_jax.data.splits import SPLITS
from dalle_jax.data.walk import Walk


@dataclass(frozen=True)
class Captions:
    """Texts of N items as one array of bytes, each item's between two offsets."""

    encoded: np.ndarray  # uint8 [B], UTF-8
    ends: np.ndarray  # int64 [C], the end of each text in `encoded`
    last: np.ndarray  # int64 [N], the number of texts up to and with each item's

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> "Captions":
        """Of the texts of each item."""
        parts = [text.encode("utf-8", "surrogatepass") for item in texts for text in item]
        return cls(
            np.frombuffer(b"".join(parts), np.uint8),
            np.cumsum([len(part) for part in parts], dtype=np.int64),
            np.cumsum([len(item) for item in texts], dtype=np.int64),
        )

    def __getitem__(self, index: int) -> tuple[str, ...]:
        first = self.last.item(index - 1) if index else 0
        start = self.ends.item(first - 1) if first else 0
        encoded = memoryview(self.encoded)
        texts = []
        for number in range(first, self.last.item(index)):
            end = self.ends.item(number)
            texts.append(str(encoded[start:end], "utf-8", "surrogatepass"))
            start = end
        return tuple(texts)

    def is_sound(self, num_items: int) -> bool:
        """Whether all offsets lie in order inside the bytes, as those that `of` made do."""
        return (
            _ascending(self.last, num_items, len(self.ends))
            and _ascending(self.ends, len(self.ends), len(self.encoded))
            and self.encoded.dtype == np.uint8
        )


@dataclass(frozen=True)
class FolderIndex:
    """The usable items of a folder, all splits together, in order of their names."""

    files: np.ndarray  # int64 [N], numbers of the images among the folder's files
    captions: Captions  # one or more of each item
    columns: Captions  # the table's column of each caption, "" where there is none
    positions: np.ndarray  # float64 [N] in [0, 1), which decide on the split of an item without one
    own: np.ndarray  # uint8 [N], 0 for such an item, else 1 + the number of its split in `SPLITS`
    own_splits: tuple[str, ...]  # that the folder itself has

    def arrays(self) -> dict[str, np.ndarray]:
        """What is written to the index's file."""
        return {
            **{name: getattr(self, name) for name in ("files", "positions", "own")},
            **{f"captions_{name}": array for name, array in vars(self.captions).items()},
            **{f"columns_{name}": array for name, array in vars(self.columns).items()},
            "own_splits": np.array([name in self.own_splits for name in SPLITS]),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "FolderIndex":
        """That of what `arrays` gave."""
        captions, columns = (
            Captions(*(arrays[f"{kind}_{name}"] for name in ("encoded", "ends", "last")))
            for kind in ("captions", "columns")
        )
        own_splits = tuple(name for name, there in zip(SPLITS, arrays["own_splits"]) if there)
        files, positions, own = (arrays[name] for name in ("files", "positions", "own"))
        return cls(files, captions, columns, positions, own, own_splits)

    def is_sound(self, num_files: int) -> bool:
        """Whether all numbers lead to files and texts that are there."""
        count = len(self.files) if self.files.ndim == 1 else -1
        return (
            are_numbers_of(self.files, num_files)
            and self.captions.is_sound(count)
            and self.columns.is_sound(count)
            and bool((np.diff(self.captions.last, prepend=0) > 0).all())
            and np.array_equal(self.captions.last, self.columns.last)
            and self.positions.shape == self.own.shape == (count,)
            and self.positions.dtype == np.float64
            and self.own.dtype == np.uint8
            and bool((self.own <= len(SPLITS)).all())
        )


def walk_signature(tree: Walk, *settings: object) -> str:
    """A hash of the names, sizes and times of all files, and of the settings of the reading.

    A Pillow that reads other formats reads the folder again.
    """
    digest = hashlib.sha256(
        repr((VERSION, sorted(IMAGE_SUFFIXES), settings)).encode("utf-8", "backslashreplace")
    )
    links = [(file.name, file.real) for file in tree.files if file.real is not None]
    digest.update(repr(links).encode("utf-8", "backslashreplace"))
    # The names of the left out ones, too: the report has them.
    left_out = sorted((reason, sorted(names)) for reason, names in tree.left_out.items())
    digest.update(repr(left_out).encode("utf-8", "backslashreplace"))
    digest.update(b"\0".join(os.fsencode(file.name) for file in tree.files))
    numbers = np.array([(file.size, file.mtime_ns) for file in tree.files], np.int64)
    digest.update(numbers.tobytes())
    return digest.hexdigest()[:32]


def _ascending(numbers: np.ndarray, count: int, highest: int) -> bool:
    """Whether an int64 [count] array goes from 0 at least to `highest` at most, never down."""
    if numbers.dtype != np.int64 or numbers.shape != (count,):
        return False
    if count == 0:
        return True
    return bool(numbers[0] >= 0 and numbers[-1] <= highest and (np.diff(numbers) >= 0).all())
