"""Pictures that change along an axis, and whether the colour and shape asked for are seen there."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from einops import rearrange

from dalle_jax.sweeps.figure import MISSING, Estimate, Measured, Row
from dalle_jax.sweeps.figure_axes import plot_estimates, show_strip, strip
from dalle_jax.sweeps.figure_measures import seen
from dalle_jax.sweeps.figure_rows import counted, mean, select

COLOR_AND_SHAPE = ("color", "shape")


def read_along(
    over: Sequence[float],
    drawn: Sequence[np.ndarray],
    asked: Sequence[tuple[str, str]],
    *,
    seed: int,
    shown: int = 4,
) -> Measured:
    """What is seen in images along an axis.

    Args:
        over: [K], the places on the axis.
        drawn: K arrays of images uint8 [N, H, W, 3].
        asked: [N], the colour and shape that each is to show there.
        seed: of the images.
        shown: how many of the N are kept as pictures.
    """
    rows = []
    for at, images in zip(over, drawn):
        for i, (image, (color, shape)) in enumerate(zip(images, asked)):
            one, head = seen(image), {"at": float(at), "image": i}
            right = one is not None and np.array([one.color == color, one.shape == shape])
            for metric, value in zip(COLOR_AND_SHAPE, np.broadcast_to(right, 2).tolist()):
                rows.append({**head, "metric": metric, "value": int(value)})
    pictures = rearrange([images[:shown] for images in drawn], "k n h w c -> n k h w c")
    return Measured(rows, {"along": strip(pictures)}, seed)


def share(rows: Sequence[Row], metric: str, *at: float) -> Estimate:
    """How often what is asked for is seen at some places of the axis.

    Of several places the interval is over images, each with all that is made of it.
    """
    values = [
        [row["value"] for row in select(rows, metric, at=float(a))] for a in at
    ]  # [places, N]
    if not all(values):
        return MISSING
    if len(values) > 1:
        return mean(np.mean(values, axis=0), "images")
    return counted(values[0], "images")


def draw_along(rows: Sequence[Row], images: Mapping[str, np.ndarray], label: str) -> Any:
    """A figure: pictures over the shares of images in which colour and shape are seen."""
    import matplotlib.pyplot as plt

    over = sorted({row["at"] for row in select(rows, COLOR_AND_SHAPE[0])})
    figure, (panel, axes) = plt.subplots(
        2, 1, figsize=(6.5, 6.5), layout="constrained", height_ratios=(1.3, 1)
    )
    show_strip(panel, images["along"], over)
    for metric, name in zip(COLOR_AND_SHAPE, ("colour", "shape")):
        found = {at: share(rows, metric, at) for at in over}
        plot_estimates(axes, found, unit=100, label=name)
    number = len(select(rows, "color", at=over[0]))
    axes.set(xlabel=label, ylabel=f"seen as asked for / % of {number} images", ylim=(-3, 103))
    axes.set_xlim(over[0] - (over[1] - over[0]) / 2, over[-1] + (over[1] - over[0]) / 2)
    axes.legend(frameon=False)
    return figure
