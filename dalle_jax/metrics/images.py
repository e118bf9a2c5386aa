"""Sets of images to be measured: a folder of files, or an array in a file."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import UNREADABLE_NPZ
from dalle_jax.data.images import IMAGE_SUFFIXES, decode


class ImageFolder:
    """The images below a folder, ordered by path; uint8 [H, W, 3] each, of any sizes."""

    def __init__(self, root: str | Path):
        self._root = Path(root)
        # Names as bare text: a million Path objects would take two gigabytes.
        self._names = sorted(_image_names(str(root)), key=lambda name: name.split(os.sep))
        if not self._names:
            raise ValueError(
                f"the folder {root} holds no images, that is, files of "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> np.ndarray:
        file = self._root / self._names[index]
        try:
            return decode(file.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{file}: {error}; repair it or take it away, since leaving out what can't be "
                "read would change the set that is measured"
            ) from error


def _image_names(root: str) -> Iterator[str]:
    """Paths of the images below `root`, from there on."""
    for folder, _, files in os.walk(root):
        below = os.path.relpath(folder, root)
        for file in files:
            if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES:
                path = os.path.join(folder, file)
                if os.path.isfile(path):
                    yield file if below == "." else os.path.join(below, file)


class Chosen(Sequence):
    """Some items of a sequence of images, or of a source of them, by their numbers."""

    def __init__(self, items: Sequence, indices: Sequence[int]):
        self._items, self._indices = items, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Any:
        return self._items[self._indices[index]]


def open_images(path: str | Path) -> Sequence[np.ndarray]:
    """The images of a folder, or of an array uint8 [N, H, W, 3] in a `.npy` or `.npz`.

    Of a `.npz` it is `arr_0`, or else the first array. A `.npy` is read as it is
    needed, a `.npz` at once.

    Raises:
        FileNotFoundError: there is nothing at that path.
        ValueError: there are no images, or what there is is no array of images.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path)
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
