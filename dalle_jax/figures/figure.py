"""A figure: what to train and measure for it, its picture, and its claims.

A figure is one file of experiments/figures, with `get_figure(scale) -> Figure`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.figures.verdict import MISSING, Claim, Estimate
from dalle_jax.sweeps.grid import Sweep

__all__ = ["MISSING", "Claim", "Estimate", "Figure", "Measured", "Row"]  # what its file needs

Row = Mapping[str, Any]


class Measured(NamedTuple):
    """What a figure measures besides what `dalle-jax evaluate` does.

    Attributes:
        rows: of the tidy table; "value" under "metric", what it depends on under any other name.
        images: that are shown, uint8 [H, W, 3], by name.
        seed: of random numbers; None if there are none.
    """

    rows: Sequence[Row]
    images: Mapping[str, np.ndarray] = {}
    seed: int | None = None

    @property
    def table(self) -> list[Row]:
        """The rows with the seed."""
        seeds = {} if self.seed is None else {"sampling_seeds": str(self.seed)}
        return [{**row, **seeds} for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A figure at one scale, as `get_figure(scale)` of its file returns it.

    Attributes:
        draw: rows of the tidy table, images by name -> a matplotlib figure.
        claims: the same rows -> claims. Missing rows make a claim undecided, not an error, see
            `rows.find` and `rows.difference`.
        sweep: what to train and measure before; None where no network is needed. Its rows are
            those of the sweep's table, with settings under the last part of their names.
        measure: further measurements; called with the workdir of each point (and with `extractor`
            and `num_captions`, where `features` and `num_captions` are set), or, if there is no
            sweep, once without arguments.
        features: the config of a network whose features distances are of; it is trained on the
            sweep's data and passed to its evaluation as `--features`.
        num_captions: passed to `measure`, unless `--captions` is given.
        together: whether `measure` is called once, with the workdirs of all points, after all are
            trained.

    Raises:
        ValueError: there is nothing to draw: neither sweep nor `measure`.
    """

    draw: Callable[[Sequence[Row], Mapping[str, np.ndarray]], Any]
    claims: Callable[[Sequence[Row]], Sequence[Claim]]
    sweep: Sweep | None = None
    measure: Callable[..., Measured] | None = None
    features: str | None = None
    num_captions: int | None = None
    together: bool = False

    def __post_init__(self):
        if self.sweep is None and self.measure is None:
            raise ValueError("a figure has a sweep, or a function `measure`, or both")
