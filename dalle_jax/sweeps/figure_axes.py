"""How figures show what they have in common: series with intervals, strips of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from einops import rearrange

from dalle_jax.sweeps.figure import Row


def plot_series(axes: Any, series: Mapping[float, Row], unit: float = 1.0, **style: Any) -> None:
    """Values by what they are a series over, in `unit`, with their 95 % intervals if they have."""
    how = {"marker": "o", "capsize": 3, **style}
    axes.errorbar(list(series), *points(series, unit), **how)


def points(series: Mapping[float, Row], unit: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Values [N] and how far their intervals reach below and above [2, N]; 0 without one."""
    values = np.array([row["value"] for row in series.values()])
    ends = [
        [
            abs(row[end] - row["value"]) if row.get(end) is not None else 0.0
            for row in series.values()
        ]
        for end in ("low", "high")
    ]
    return unit * values, unit * np.array(ends)


def mark(axes: Any, ticks: Sequence[float], label: str) -> None:
    """A logarithmic x axis marked at the numbers that were measured alone."""
    axes.set(xscale="log", xlabel=label)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.minorticks_off()


def strip(images: np.ndarray) -> np.ndarray:
    """Rows of pictures [R, C, H, W, 3] as one picture."""
    return rearrange(images, "r c h w d -> (r h) (c w) d")


def show_strip(axes: Any, picture: np.ndarray, ticks: Sequence[float]) -> None:
    """A strip of square pictures with a number under each column."""
    height = len(ticks) * picture.shape[0] / picture.shape[1]
    axes.imshow(picture, extent=(0, len(ticks), 0, height), interpolation="nearest")
    axes.set_yticks([])
    axes.set_xticks(np.arange(len(ticks)) + 0.5, [f"{tick:.2g}" for tick in ticks])
