"""Squares with a white border, as img2dataset makes them at its default setting (`border`)."""

import json
from collections.abc import Callable

import numpy as np

BORDERED = "square with the white border of img2dataset's resize_mode=border; keep_ratio has none"

_SIDES = ("width", "height", "original_width", "original_height")
_WHITE = 245  # JPEG of pure white rarely falls below


def border_note(record: bytes | None) -> Callable[[np.ndarray], str | None] | None:
    """A search for the border on the image that a JSON record of img2dataset is about.

    None where `record` is none of img2dataset, or says that the image was a square before.
    """
    if not record or b'"original_width"' not in record:
        return None
    try:
        sides = json.loads(record)
        width, height, before_x, before_y = (int(sides[name]) for name in _SIDES)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
    if not (width == height > 0 and before_x > 0 and before_y > 0):
        return None
    share = min(before_x, before_y) / max(before_x, before_y)
    border = int(height * (1 - share) / 2)
    if border < 2:
        return None
    return lambda image: BORDERED if _has_border(image, border, before_x < before_y) else None


def _has_border(image: np.ndarray, width: int, upright: bool) -> bool:
    """Whether strips of `width` are white, at the left and right of an upright image."""
    lines = image.swapaxes(0, 1) if upright else image
    if image.shape[0] != image.shape[1] or len(lines) <= 2 * width:
        return False
    # One line less, where the image begins and JPEG blurs the edge.
    strips = np.concatenate([lines[: width - 1], lines[1 - width :]])
    return bool(strips.min() >= _WHITE)
