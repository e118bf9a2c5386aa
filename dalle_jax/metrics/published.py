"""How pytorch-fid, clean-fid and torch-fidelity find and decode images.

All three decode with Pillow's `Image.open(file).convert("RGB")`. That discards transparency and
shows the colors below it, ignores the EXIF orientation except in TIFF, and clips 16-bit gray to
255.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dalle_jax.data.images import UPRIGHT, Opened, RefusedError, read, to_rgb, turned_image


class Tool(NamedTuple):
    """Which files of a folder a tool reads by default.

    Attributes:
        suffixes: of the files.
        any_case: whether suffixes are compared without case.
        sub_folders: whether files in sub-folders are read.
    """

    suffixes: tuple[str, ...]
    any_case: bool
    sub_folders: bool


_COMMON = (".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TOOLS = {
    "torch-fidelity": Tool((".png", ".jpg", ".jpeg"), any_case=True, sub_folders=False),
    "pytorch-fid": Tool(_COMMON, any_case=False, sub_folders=False),
    "clean-fid": Tool((*_COMMON, ".JPEG", ".JPG", ".PNG"), any_case=False, sub_folders=True),
}


class Converted(NamedTuple):
    """An image as the tools decode it.

    Attributes:
        pixels: uint8 [H, W, 3].
        differences: how the pixels differ from those of a faithful decoder.
    """

    pixels: np.ndarray
    differences: tuple[str, ...]


def decode(encoded: bytes) -> Converted:
    """Decode an image as the tools do.

    Raises:
        ValueError: it can't be read, or it has 32-bit values, which the tools would clip.
    """
    return read(encoded, _converted)


def unread(tool: str, names: Sequence[str]) -> list[str]:
    """The files, given by their paths relative to a folder, that the tool does not read."""
    suffixes, any_case, sub_folders = TOOLS[tool]
    return [
        name
        for name in names
        if ("/" in name and not sub_folders)
        or not (name.lower() if any_case else name).endswith(suffixes)
    ]


def _converted(opened: Opened) -> Converted:
    image, differences = opened.image, []
    image.load()
    turn = UPRIGHT.get(opened.orientation())
    if opened.tags is not None:
        image, turn = turned_image(image, turn), None
    if turn is not None:
        differences.append("EXIF orientation ignored")
    # Pillow only converts La to LA, so that the tools can't read it.
    image = image.convert("LA") if image.mode == "La" else image
    if image.has_transparency_data and image.mode[0] not in "IF":
        alpha = image.convert("RGBA").getextrema()[-1]
        differences += ["transparency discarded"] * (alpha[0] < 255)
    pixels = np.asarray(image.convert("RGB"))
    if image.mode.startswith("I;16"):
        if np.asarray(image).max(initial=0) > 255:
            differences.append("16-bit gray clipped to 255")
    elif image.mode in ("I", "F") and not np.array_equal(pixels, to_rgb(image)):
        raise RefusedError(
            f"the tools would clip its values of mode {image.mode}; save it with 8 bits"
        )
    return Converted(pixels, tuple(differences))
