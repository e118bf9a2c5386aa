"""Plots that figures share: series with intervals, strips of pictures."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from einops import rearrange

from dalle_jax.figures.figure import Row
from dalle_jax.figures.rows import num_images, select, series
from dalle_jax.figures.verdict import Estimate

WIDTH_OF_WORDS = 12  # characters a line, of text under a picture or a point
SPELLED = {"color": "colour"}  # words that code spells otherwise

# The metrics of `measures.judged_rows`: the unit each is shown in, its axis' label.
METRIC_LABELS = {
    "oracle/caption": (100, "fully correct captions / %"),
    "FD": (1, "Fréchet distance, classifier's features"),
}


def panels(*widths: float, size: tuple[float, float] = (11, 3.8), **options: Any) -> tuple:
    """A figure, and its panels side by side in these widths relative to each other.

    `options` are those of `plt.subplots`.
    """
    import matplotlib.pyplot as plt

    options = {"figsize": size, "layout": "constrained", "width_ratios": widths, **options}
    return plt.subplots(1, len(widths), **options)


def plot_series(axes: Any, series: Mapping[float, Row], unit: float = 1.0, **style: Any) -> None:
    """Values by what they are a series over, in `unit`, with their 95 % intervals if they have."""
    how = {"marker": "o", "capsize": 3, **style}
    axes.errorbar(list(series), *points(series, unit), **how)


def plot_named(
    axes: Any,
    rows: Mapping[str, Row | None],
    unit: float = 1.0,
    shift: float = 0.0,
    **style: Any,
) -> None:
    """As `plot_series`, of rows by name: each has its own tick on the x axis.

    Where nothing was measured (None) a tick is empty. `shift`, a share of the distance between
    ticks, puts several series side by side.
    """
    known = {at + shift: row for at, row in enumerate(rows.values()) if row is not None}
    plot_series(axes, known, unit, linestyle="none", **style)
    axes.set_xticks(range(len(rows)), map(in_lines, rows), fontsize=8)
    axes.set_xlim(-0.5, len(rows) - 0.5)


def in_lines(words: str) -> str:
    """Broken into lines of at most WIDTH_OF_WORDS; line breaks that are there stay."""
    return "\n".join(textwrap.fill(line, WIDTH_OF_WORDS) for line in words.splitlines())


def in_words(kind: str) -> str:
    """A kind of statement as figures spell it."""
    return SPELLED.get(kind, kind)


def plot_metrics(
    rows: Sequence[Row],
    metrics: Mapping[str, tuple[float, str]],
    *,
    over: str,
    by: str,
    label: str,
) -> Any:
    """A figure with a panel a metric: over one column, a series for each value of another.

    Args:
        rows: of the metrics.
        metrics: the unit that each is shown in, and its axis' label.
        over: a column of numbers, on a logarithmic axis.
        by: a column; its series are shifted a little against each other.
        label: of the x axis.
    """
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(metrics), figsize=(11, 3.6), layout="constrained", squeeze=False
    )
    for axes, (metric, (unit, name)) in zip(panels.flat, metrics.items()):
        known = select(rows, metric)
        for i, value in enumerate(dict.fromkeys(row[by] for row in known)):
            found = series(rows, metric, over, **{by: value})
            plot_series(axes, {at * 1.03**i: row for at, row in found.items()}, unit, label=value)
        mark(axes, sorted({row[over] for row in known}), label)
        axes.set_ylabel(name)
    panels[0, 0].legend(title=f"{num_images(rows)} captions", frameon=False)
    return figure


def plot_estimates(
    axes: Any, series: Mapping[float, Estimate], unit: float = 1.0, **style: Any
) -> None:
    """As `plot_series`, of numbers made from several rows."""
    rows = {}
    for at, found in series.items():
        low, high = found.interval or (None, None)
        rows[at] = {"value": found.value, "low": low, "high": high}
    plot_series(axes, rows, unit, **style)


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
    """Make the x axis logarithmic, with ticks only at the numbers that were measured."""
    axes.set(xscale="log", xlabel=label)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.minorticks_off()


def strip(images: np.ndarray) -> np.ndarray:
    """Rows of pictures [R, C, H, W, 3] as one picture."""
    return rearrange(images, "r c h w d -> (r h) (c w) d")


def show_strip(
    axes: Any, picture: np.ndarray, ticks: Sequence[float | str], names: Sequence[str] = ()
) -> None:
    """A strip of square pictures: a number or words under each column, names beside the rows."""
    height = len(ticks) * picture.shape[0] / picture.shape[1]
    axes.imshow(picture, extent=(0, len(ticks), 0, height), interpolation="nearest")
    axes.set_yticks(height - 0.5 - np.arange(len(names)), names)
    words = [in_lines(tick) if isinstance(tick, str) else f"{tick:.2g}" for tick in ticks]
    axes.set_xticks(np.arange(len(ticks)) + 0.5, words)
