"""A scene as an image."""

import numpy as np
from PIL import Image, ImageDraw

from dalle_jax.data.shapes.scene import Scene


def draw(scene: Scene, resolution: int) -> np.ndarray:
    """The scene as uint8 [resolution, resolution, 3], antialiased by supersampling.

    The same scene gives the same bytes.
    """
    factor = 8 if resolution <= 64 else 4
    side = resolution * factor
    canvas = Image.new("RGB", (side, side), scene.background_rgb)
    pen = ImageDraw.Draw(canvas)
    for o in scene.objects:
        draw_shape(pen, o.shape, o.cx * side, o.cy * side, o.radius * side, o.rgb)
    return np.asarray(canvas.reduce(factor))


def draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    cx: float,
    cy: float,
    radius: float,
    fill: tuple[int, int, int] | int,
) -> None:
    """Draw a shape around (cx, cy), at most `radius` from it along each axis, in pixels."""
    if shape in _DISCS:
        _disc(pen, cx, cy, radius * _DISCS[shape], radius * _HOLES.get(shape, 0), fill)
    else:
        # Pillow's pixel k covers [k, k + 1): a corner at x is pixel x - 1/2.
        x, y = np.array([cx, cy])[:, None] + radius * _OUTLINES[shape].T - 0.5
        pen.polygon(list(zip(x.tolist(), y.tolist())), fill=fill)


def _disc(pen, cx, cy, outer, inner, fill) -> None:
    if not inner:
        pen.ellipse((cx - outer, cy - outer, cx + outer - 1, cy + outer - 1), fill=fill)
    else:
        box = (cx - outer, cy - outer, cx + outer - 1, cy + outer - 1)
        pen.ellipse(box, outline=fill, width=round(outer - inner))


def _star(points: int = 5, inner: float = 0.45) -> np.ndarray:
    angle = np.pi * np.arange(2 * points) / points
    reach = np.where(np.arange(2 * points) % 2, inner, 1.0)
    xy = np.stack([reach * np.sin(angle), -reach * np.cos(angle)], axis=1)
    return _fill_box(xy)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return _fill_box(np.stack([x, y], axis=1))


def _fill_box(xy: np.ndarray) -> np.ndarray:
    """Move and scale points [N, 2] so that they touch all sides of the square of ±1."""
    low, high = xy.min(0), xy.max(0)
    return (2 * xy - low - high) / (high - low)


def _cross(arm: float = 0.36) -> np.ndarray:
    quarter = np.array([(-arm, -1), (arm, -1), (arm, -arm)])
    turns = [np.array([[c, -s], [s, c]]) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([quarter @ turn.T for turn in turns])


# Corners in units of the radius [N, 2]. A square of full width would look larger than the others.
_OUTLINES = {
    "square": 0.86 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": np.array([(0, -0.92), (1, 0.92), (-1, 0.92)]),
    "diamond": np.array([(0, -1), (1, 0), (0, 1), (-1, 0)]),
    "star": _star(),
    "cross": _cross(),
    "heart": 0.96 * _heart(),
}
_DISCS = {"circle": 0.95, "ring": 1.0}
_HOLES = {"ring": 0.5}
