"""How pytorch-fid, clean-fid and torch-fidelity find and decode images.

All three decode by Pillow's `Image.open(file).convert("RGB")`. That drops transparency, so that the
colours below it show, turns no image upright but a TIFF, and clips gray of 16 bits to 255.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dalle_jax.data.images import UPRIGHT, Opened, RefusedError, read, to_rgb, turned_image


class Tool(NamedTuple):
    """Which files of a folder a tool reads, at its defaults.

    Attributes:
        suffixes: of the files.
        any_case: whether they count in capitals too.
        sub_folders: whether those are read.
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
        unlike: how that differs from the picture that is meant, in words.
    """

    pixels: np.ndarray
    unlike: tuple[str, ...]


def decode(encoded: bytes) -> Converted:
    """Decode an image as the tools do.

    Raises:
        ValueError: it can't be read; or it has values of 32 bits, which the tools would clip.
    """
    return read(encoded, _converted)


def unread(tool: str, names: Sequence[str]) -> list[str]:
    """Those of the files, named by their path in a folder, that the tool does not read there."""
    suffixes, any_case, sub_folders = TOOLS[tool]
    return [
        name
        for name in names
        if ("/" in name and not sub_folders)
        or not (name.lower() if any_case else name).endswith(suffixes)
    ]


def _converted(opened: Opened) -> Converted:
    image, unlike = opened.image, []
    image.load()
    turn = UPRIGHT.get(opened.orientation())
    if opened.tags is not None:
        image, turn = turned_image(image, turn), None
    if turn is not None:
        unlike.append("not turned upright")
    # Pillow converts La to LA only, so that the tools can't read it.
    image = image.convert("LA") if image.mode == "La" else image
    if image.has_transparency_data and image.mode[0] not in "IF":
        alpha = image.convert("RGBA").getextrema()[-1]
        unlike += ["transparency dropped"] * (alpha[0] < 255)
    pixels = np.asarray(image.convert("RGB"))
    if image.mode.startswith("I;16"):
        if np.asarray(image).max(initial=0) > 255:
            unlike.append("gray of 16 bits clipped to 255")
    elif image.mode in ("I", "F") and not np.array_equal(pixels, to_rgb(image)):
        raise RefusedError(
            f"the tools would clip its values of mode {image.mode}; save it with 8 bits"
        )
    return Converted(pixels, tuple(unlike))
