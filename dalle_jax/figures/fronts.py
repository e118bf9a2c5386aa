"""One series against another, with a label beside each point, clear of other points and labels."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from dalle_jax.figures.figure import Row
from dalle_jax.figures.plots import points

POINT = 4.0  # half the width of a point, in points of type, as all lengths here
SIZE = 9.0  # of the type
# Directions from a point to its label; the crosses of intervals leave the slanting ones free.
SIDES = [(1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)]
AWAY = (1.0, 1.6)  # how far, in distances that just clear the point
ROOM = 18.0  # from all else that is enough


def plot_front(
    axes: Any,
    x: Mapping[float, Row],
    y: Mapping[float, Row],
    units: tuple[float, float] = (1.0, 1.0),
    **style: Any,
) -> None:
    """Two series over the same numbers, one against the other, with those numbers as labels.

    Labels have their curve's colour and do not overlap those of the axes' other fronts.
    """
    (x_values, x_ends), (y_values, y_ends) = points(x, units[0]), points(y, units[1])
    how = {"fmt": "o-", "lw": 1, **style}
    (line, *_) = axes.errorbar(x_values, y_values, y_ends, x_ends, **how)
    _label_points(axes, list(x), np.stack([x_values, y_values], axis=-1), line.get_color())


def _label_points(axes: Any, numbers: list[float], places: np.ndarray, color: Any) -> None:
    """Put numbers in a colour beside points [N, 2] of an axes' data.

    Labels that are there from earlier calls are moved to make room.
    """
    from matplotlib.patheffects import withStroke

    for number, place in zip(numbers, places):
        how = {"color": color, "fontsize": SIZE, "ha": "center", "va": "center"}
        label = axes.annotate(
            f"{number:g}", place, textcoords="offset points", xytext=(0, 0), **how
        )
        label.set_path_effects([withStroke(linewidth=2, foreground="w")])
    axes.autoscale_view()
    of_pixel = 72 / axes.figure.dpi
    middles = of_pixel * axes.transData.transform([label.xy for label in axes.texts])
    halves = [np.array([0.35 * len(label.get_text()), 0.5]) * SIZE for label in axes.texts]
    for label, offset in zip(axes.texts, _offsets(middles, halves)):
        label.set_position(offset)


def _offsets(points: np.ndarray, halves: list[np.ndarray]) -> list[np.ndarray]:
    """Of each label its middle from its point, one after the other; `halves` of their sizes."""
    taken = [(point, np.full(2, POINT)) for point in points]  # middle, half the size
    offsets = []
    for i, (point, half) in enumerate(zip(points, halves)):
        choices = [
            np.multiply(side, half + POINT * (1 if all(side) else 1.5)) * away
            for away, side in itertools.product(AWAY, SIDES)
        ]
        others = taken[:i] + taken[i + 1 :]
        # Of those that cover least, the first with room, or with most of it.
        covered = [sum(_overlap(point + o, half, *other) for other in taken) for o in choices]
        room = [
            min((_apart(point + o, middle) for middle, _ in others), default=0) for o in choices
        ]
        best = min(range(len(choices)), key=lambda k: (round(covered[k], 6), -min(room[k], ROOM)))
        offsets.append(choices[best])
        taken.append((point + choices[best], half))
    return offsets


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.hypot(*(a - b)))


def _overlap(a: np.ndarray, half_a: np.ndarray, b: np.ndarray, half_b: np.ndarray) -> float:
    """The area that two boxes share."""
    shared = np.minimum(a + half_a, b + half_b) - np.maximum(a - half_a, b - half_b)
    return float(np.prod(np.maximum(shared, 0)))
