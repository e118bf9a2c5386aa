"""Sets of images as input of metrics: a folder of files, or an array in a file."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.images import IMAGE_SUFFIXES, decode
from dalle_jax.data.walk import describe, walk
from dalle_jax.files import UNREADABLE_NPZ
from dalle_jax.metrics import published

SUFFIX = "without an image's suffix"


class ImageFolder:
    """The images below a folder, including links, ordered by path; uint8 [H, W, 3] of any sizes.

    Attributes:
        names: paths of the images relative to the folder.
        left_out: names of other entries by reason, as in `data.walk`.
        decoding: "upright", composited over white; or "converted", as the published tools decode.
    """

    def __init__(self, root: str | Path, decoding: str = "upright"):
        self.decoding = decoding
        self._root = Path(root)
        entries = walk(root)
        names = [file.name for file in entries.files]
        self.names = sorted(
            (name for name in names if _suffix(name) in IMAGE_SUFFIXES),
            key=lambda name: name.split("/"),
        )
        self.left_out = dict(entries.left_out)
        if others := [name for name in names if _suffix(name) not in IMAGE_SUFFIXES]:
            self.left_out[SUFFIX] = others
        self._differences: dict[int, tuple[str, ...]] = {}
        if not self.names:
            contents = f"; it holds {describe(self.left_out)}" if self.left_out else ""
            raise ValueError(
                f"the folder {root} holds no images, that is, files of "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}{contents}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        file = self._root / self.names[index]
        try:
            encoded = file.read_bytes()
            if self.decoding == "upright":
                return decode(encoded)
            pixels, differences = published.decode(encoded)
            if differences:
                self._differences[index] = differences
            return pixels
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{file}: {error}; repair or remove it, since skipping unreadable images would "
                "change the set that is measured"
            ) from error

    def decoding_differences(self) -> dict[str, int]:
        """How "converted" differs from "upright" in the images read so far: counts by kind."""
        return dict(Counter(kind for kinds in self._differences.values() for kind in kinds))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


class Subset(Sequence):
    """The items of a sequence or a source at the given indices."""

    def __init__(self, items: Sequence, indices: Sequence[int]):
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._items[self._indices[index]]


def open_images(path: str | Path, decoding: str = "upright") -> Sequence[np.ndarray]:
    """Open the images of a folder, or of an array uint8 [N, H, W, 3] in a `.npy` or `.npz`.

    `decoding` is that of `ImageFolder`. The array of a `.npz` is `arr_0` if there is one, else the
    first. A `.npy` is memory-mapped, a `.npz` is read at once.

    Raises:
        FileNotFoundError: there is nothing at that path.
        ValueError: there are no images, or the file does not hold an array of images.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return ImageFolder(path, decoding)
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or file {path}")
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path} is neither a folder of images nor a .npy or .npz file")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if path.suffix == ".npz":
            with array as archive:
                name = (
                    "arr_0" if "arr_0" in archive.files or not archive.files else archive.files[0]
                )
                array = archive[name]
    except UNREADABLE_NPZ as error:
        raise ValueError(f"{path} can't be read as an array of images: {error}") from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise ValueError(
            f"{path} holds {array.dtype} {list(array.shape)}; images are uint8 [N, H, W, 3]"
        )
    if not len(array):
        raise ValueError(f"{path} holds no images")
    return array


def pixel_digest(image: np.ndarray) -> bytes:
    """The SHA-256 of an image's size and pixels, whatever the format of its file."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()


def set_digest(digests: Iterable[bytes]) -> str:
    """The SHA-256 of a set of images from their digests, independent of names and order."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
