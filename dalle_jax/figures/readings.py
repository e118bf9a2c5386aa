"""Images along an axis, and whether the requested colour and shape are seen in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from einops import rearrange

from dalle_jax.figures.figure import Measured, Row
from dalle_jax.figures.measures import seen
from dalle_jax.figures.plots import in_lines, plot_estimates, show_strip, strip
from dalle_jax.figures.rows import counted, mean, select
from dalle_jax.figures.verdict import MISSING, Estimate

COLOR_AND_SHAPE = ("color", "shape")


def read_along(
    over: Sequence[float],
    images: Sequence[np.ndarray],
    asked: Sequence[tuple[str, str]],
    *,
    seed: int,
    shown: int = 4,
) -> Measured:
    """Read the colour and shape of images along an axis.

    Args:
        over: [K], the positions on the axis.
        images: K arrays uint8 [N, H, W, 3].
        asked: [N], the colour and shape that each should show there; they are in its rows.
        seed: of the images.
        shown: how many of the N are shown as pictures.
    """
    rows = []
    for at, along in zip(over, images):
        for i, (image, (color, shape)) in enumerate(zip(along, asked)):
            one = seen(image)
            head = {"at": float(at), "image": i, "asked": f"{color} {shape}"}
            right = one is not None and np.array([one.color == color, one.shape == shape])
            for metric, value in zip(COLOR_AND_SHAPE, np.broadcast_to(right, 2).tolist()):
                rows.append({**head, "metric": metric, "value": int(value)})
    pictures = rearrange([along[:shown] for along in images], "k n h w c -> n k h w c")
    return Measured(rows, {"along": strip(pictures)}, seed)


def share(rows: Sequence[Row], metric: str, *at: float) -> Estimate:
    """The share of images that show what was asked for, at some positions of the axis.

    At several positions the interval is over images, each with its mean over the positions.
    """
    values = [
        [row["value"] for row in select(rows, metric, at=float(a))] for a in at
    ]  # [positions, N]
    if not all(values):
        return MISSING
    if len(values) > 1:
        return mean(np.mean(values, axis=0), "images")
    return counted(values[0], "images")


def draw_along(
    rows: Sequence[Row],
    images: Mapping[str, np.ndarray],
    label: str,
    *,
    asked: str,
    readings: tuple[str, str],
) -> Any:
    """A figure of images above the shares in which colour and shape are seen.

    Args:
        rows, images: of `read_along`.
        label: of the axis.
        asked: label of the words beside the pictures, which the oracle should read.
        readings: what is counted as colour and as shape, after "the oracle reads …".
    """
    import matplotlib.pyplot as plt

    first = select(rows, COLOR_AND_SHAPE[0])
    over = sorted({row["at"] for row in first})
    figure, (panel, axes) = plt.subplots(
        2, 1, figsize=(6.5, 7), layout="constrained", height_ratios=(1.3, 1)
    )
    height = len(over) * images["along"].shape[0] / images["along"].shape[1]
    names = [in_lines(row["asked"]) for row in first[: round(height)] if "asked" in row]
    show_strip(panel, images["along"], over, names)
    panel.set_ylabel(asked)
    for metric, reading in zip(COLOR_AND_SHAPE, readings):
        found = {at: share(rows, metric, at) for at in over}
        plot_estimates(axes, found, unit=100, label=f"the oracle reads {reading}")
    number = len(select(rows, "color", at=over[0]))
    axes.set(xlabel=label, ylabel=f"share of the {number} images / %", ylim=(-3, 103))
    axes.set_xlim(over[0] - (over[1] - over[0]) / 2, over[-1] + (over[1] - over[0]) / 2)
    axes.set_xticks(over, [f"{at:.2g}" for at in over])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", frameon=False)
    return figure
