"""Sets of images to be measured: a folder of files, or an array in a file."""

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

SUFFIX = "of no image's suffix"


class ImageFolder:
    """The images below a folder, linked ones too, ordered by path; uint8 [H, W, 3] of any sizes.

    Attributes:
        names: of the images, their paths from the folder on.
        left_out: names of other entries by reason, as `data.walk` gives them.
        decoding: "upright", over white; or "converted", as the published tools decode.
    """

    def __init__(self, root: str | Path, decoding: str = "upright"):
        self.decoding = decoding
        self._root = Path(root)
        found = walk(root)
        names = [file.name for file in found.files]
        self.names = sorted(
            (name for name in names if _suffix(name) in IMAGE_SUFFIXES),
            key=lambda name: name.split("/"),
        )
        self.left_out = dict(found.left_out)
        if others := [name for name in names if _suffix(name) not in IMAGE_SUFFIXES]:
            self.left_out[SUFFIX] = others
        self._unlike: dict[int, tuple[str, ...]] = {}
        if not self.names:
            there = f"; it holds {describe(self.left_out)}" if self.left_out else ""
            raise ValueError(
                f"the folder {root} holds no images, that is, files of "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}{there}"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        file = self._root / self.names[index]
        try:
            encoded = file.read_bytes()
            if self.decoding == "upright":
                return decode(encoded)
            pixels, unlike = published.decode(encoded)
            if unlike:
                self._unlike[index] = unlike
            return pixels
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{file}: {error}; repair it or take it away, since leaving out what can't be "
                "read would change the set that is measured"
            ) from error

    def unlike(self) -> dict[str, int]:
        """Of the images read so far: how many "converted" differ from "upright", by how."""
        return dict(Counter(how for one in self._unlike.values() for how in one))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


class Chosen(Sequence):
    """Some items of a sequence of images, or of a source of them, by their numbers."""

    def __init__(self, items: Sequence, indices: Sequence[int]):
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._items[self._indices[index]]


def open_images(path: str | Path, decoding: str = "upright") -> Sequence[np.ndarray]:
    """The images of a folder, or of an array uint8 [N, H, W, 3] in a `.npy` or `.npz`.

    Files are decoded as `ImageFolder` says. Of a `.npz` it is `arr_0`, or else the first array. A
    `.npy` is read as it is needed, a `.npz` at once.

    Raises:
        FileNotFoundError: there is nothing at that path.
        ValueError: there are no images, or what there is is no array of images.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return ImageFolder(path, decoding)
    if not path.exists():
        raise FileNotFoundError(f"there is no folder or file {path}")
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path} is neither a folder of images nor a .npy or .npz of them")
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
    """SHA-256 of an image's size and pixels, however its file was encoded."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()


def set_digest(digests: Iterable[bytes]) -> str:
    """SHA-256 of a set of images, from their digests; names and order do not count."""
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
