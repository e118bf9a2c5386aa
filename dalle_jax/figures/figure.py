"""What a figure is: what has to be trained and measured for it, its picture, and what it claims.

A figure is one file of experiments/figures, with `get_figure(scale) -> Figure`. Its claims are
about numbers, each with a range in which the number has to lie and, where it was sampled, the 95 %
interval of the number: that decides whether the claim holds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.sweeps.grid import Sweep

Row = Mapping[str, Any]

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not enough data"


class Measured(NamedTuple):
    """What a figure measures besides what `dalle-jax evaluate` does.

    Attributes:
        rows: of the tidy table; "value" under "metric", what it depends on under any other name.
        images: that are shown, uint8 [H, W, 3], by name.
        seed: of what was drawn at random; None if nothing was.
    """

    rows: Sequence[Row]
    images: Mapping[str, np.ndarray] = {}
    seed: int | None = None

    @property
    def table(self) -> list[Row]:
        """The rows with the seed."""
        seeds = {} if self.seed is None else {"sampling_seeds": str(self.seed)}
        return [{**row, **seeds} for row in self.rows]


class Estimate(NamedTuple):
    """A number, its 95 % interval (None: it is exact), and what both come from, in words."""

    value: float
    interval: tuple[float, float] | None = None
    basis: str = ""


MISSING = Estimate(math.nan)  # what it is of was not measured


@dataclass(frozen=True)
class Claim:
    """That a number lies in a range.

    Attributes:
        statement: in a sentence; what is claimed, not what was found.
        estimate: the number.
        above, below: the ends of the range, which are not in it.
        unit: of the number.
        published: the paper's own figures for it, with what they are of; "" if there are none.
        one_training: it compares one training of each setting, and others are known to differ by as
            much: the interval, which leaves that out, decides nothing.
    """

    statement: str
    estimate: Estimate
    above: float = -math.inf
    below: float = math.inf
    unit: str = ""
    published: str = ""
    one_training: bool = False

    @property
    def verdict(self) -> str:
        """HOLDS if all of the interval is in the range, FAILS if none of it is, else UNDECIDED.

        What the interval can't decide (`one_training`) is UNDECIDED wherever it lies.
        """
        low, high = self.estimate.interval or (self.estimate.value,) * 2
        known = all(map(math.isfinite, (self.estimate.value, low, high)))
        if self.one_training or not known:
            return UNDECIDED
        if self.above < low and high < self.below:
            return HOLDS
        return FAILS if high <= self.above or low >= self.below else UNDECIDED


def overall(claims: Sequence[Claim]) -> str:
    """Of several claims: one that fails is enough, and all have to hold."""
    verdicts = {claim.verdict for claim in claims}
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts == {HOLDS} else UNDECIDED


@dataclass(frozen=True)
class Figure:
    """A figure at one scale; an experiment file's `get_figure(scale)` gives one.

    Attributes:
        draw: from the rows of the tidy table, and the images by name, to a matplotlib figure.
        claims: from the same rows to what is claimed. Rows that are missing make a claim undecided,
            not an error: see `figure_rows`.
        sweep: what has to be trained and measured before; None where no network is needed. Its
            rows are those of the sweep's table, with knobs under the last part of their names.
        measure: what is measured besides; called with the workdir of each point (and with
            `extractor` and `num_captions`, where there are the two below), or, if there is no
            sweep, once with nothing.
        features: a config of the network whose features distances are of; it is trained on the
            data of the sweep, and given to its evaluation as `--features`.
        num_captions: that `measure` takes, unless `--captions` says otherwise.
        together: whether `measure` is called once all points are trained, with a list of all their
            workdirs, for what one of them alone can't tell.

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
