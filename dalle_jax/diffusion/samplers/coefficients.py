"""Samplers as tables of coefficients, and the loop that executes them.

All solvers of this package are linear in the network's output, so a sampler is a function from a
time grid to rows of coefficients, computed in float64 on the host. Row i is one evaluation:

    x_i <- e x_i + n z_i                             churn, where a solver raises the noise first
    x0_i = denoiser(x_i, t_i)                        the only call of the network
    m_i  = x0_i, or eps_i where the solver interpolates noise
    y_i  = x_i, or corrected:  c y_{i−1} + Σ_k d_k m_{i−k}
    x_{i+1} = a y_i + Σ_k b_k m_{i−k} + s z_i        z_i standard normal, by (sample index, i)

The number of rows is the number of network evaluations. A table is data: one compiled program
executes all tables with the same columns, whatever their numbers are and however many rows are
used, if they are padded to one length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.diffusion.arrays import Array, Denoised, Denoiser, x0_of
from dalle_jax.diffusion.noise import normal_like


@dataclass(frozen=True)
class Row:
    """One evaluation of the network and the update after it, in the notation above."""

    t: float
    a: float
    b: tuple[float, ...]
    s: float = 0.0
    correction: tuple[float, tuple[float, ...]] | None = None  # (c, d)
    churn: tuple[float, float] | None = None  # (e, n)
    eps_of: tuple[float, float] | None = None  # (alpha, sigma): m is eps = (x − alpha x0) / sigma
    log_variance: tuple[float, float] | None = None  # bounds of a learned variance; s is 0 or 1


def stack(rows: Sequence[Row], dtype) -> dict[str, np.ndarray]:
    """The rows as columns [N, ...], without columns that no row uses."""

    def column(values):
        return np.asarray(values, dtype)

    def padded(tuples):
        width = max(map(len, tuples))
        return column([(*values, *(0.0,) * (width - len(values))) for values in tuples])

    table = {
        "t": column([row.t for row in rows]),
        "a": column([row.a for row in rows]),
        "b": padded([row.b for row in rows]),
    }
    if any(row.s for row in rows):
        table["s"] = column([row.s for row in rows])
    if any(row.churn for row in rows):
        table["churn"] = column([row.churn or (1.0, 0.0) for row in rows])
    if any(row.correction for row in rows):
        # y = y_of_x x + y_of_y y + Σ d m: (1, 0, 0) without a correction
        table["y_of_x"] = column([0.0 if row.correction else 1.0 for row in rows])
        table["y_of_y"] = column([row.correction[0] if row.correction else 0.0 for row in rows])
        table["d"] = padded([row.correction[1] if row.correction else (0.0,) for row in rows])
    if any(row.eps_of for row in rows):
        # m = (x − alpha x0) / sigma
        table["m_of_x"] = column([1 / row.eps_of[1] for row in rows])
        table["m_of_x0"] = column([-row.eps_of[0] / row.eps_of[1] for row in rows])
    if any(row.log_variance for row in rows):
        table["log_variance"] = column([row.log_variance for row in rows])
    return table


MIN_ROWS = 128  # of a padded table; unused rows take memory, a few kB, and no time


def padded(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The table with rows of zeros up to the next power of two, 128 or more."""
    count = len(table["a"])
    missing = max(MIN_ROWS, 1 << (count - 1).bit_length()) - count
    return {name: np.pad(a, [(0, missing), *[(0, 0)] * (a.ndim - 1)]) for name, a in table.items()}


class State(NamedTuple):
    """A chain between two rows; all arrays are [B, ...]."""

    x: Array
    x0: Array  # the last estimate; x at the start
    y: Array | None  # with a corrector
    past: tuple[Array, ...]  # the estimates m that later rows read, newest first


def start(table: dict[str, Array], x: Array) -> State:
    """The chain before its first row."""
    remembered = max(table[k].shape[1] for k in ("b", "d") if k in table) - 1
    return State(x, x, x if "d" in table else None, (jnp.zeros_like(x),) * remembered)


def run(
    table: dict[str, Array],
    denoiser: Denoiser,
    x: Array,
    *,
    count: Array | int | None = None,
    **options,
) -> Array:
    """Execute the table from x [B, ...] to the end of the chain [B, ...].

    `count` rows are used, by default all; `options` are those of `advance`.
    """
    last = len(table["a"]) if count is None else count
    return advance(table, denoiser, start(table, x), 0, last, **options).x


def advance(
    table: dict[str, Array],
    denoiser: Denoiser,
    state: State,
    first: Array | int,
    last: Array | int,
    *,
    key: Array | None = None,
    sample_index: Array | None = None,
    callback: Callable[[int, int, Array], None] | None = None,
    project: Callable[[Array, Array], Array] | None = None,
) -> State:
    """Execute the rows from `first` up to, without, `last`.

    Numbers that are known while tracing make a `scan`, which has a gradient; arrays make a `while`.
    The noise of each sample depends on `key` (one, or one for each sample [B]) and its
    `sample_index` [B] (0 … B − 1 by default). `callback(step, last, x0_hat)` is called on the host
    after every evaluation, in order. `project(x, i)` replaces x after row i (inpainting).
    """
    noisy, corrects = "s" in table or "churn" in table, "d" in table
    if noisy and key is None:
        raise ValueError("this sampler is stochastic: give key=jax.random.key(seed)")
    if project is not None and corrects:
        raise ValueError(
            "a projection changes x after each step, which this sampler's corrector would undo: "
            "use a sampler without one"
        )
    if sample_index is None:
        sample_index = jnp.arange(state.x.shape[0])
    columns = {name: jnp.asarray(column) for name, column in table.items()}

    def body(i, state):
        x, _, y, past = state
        row = {name: column[i] for name, column in columns.items()}
        z = normal_like(key, sample_index, i + 1, x) if noisy else None
        if "churn" in row:
            x = row["churn"][0] * x + row["churn"][1] * z
        output = denoiser(x, jnp.full(x.shape[:1], row["t"]))
        x0 = x0_of(output).astype(x.dtype)
        if callback is not None:
            jax.debug.callback(callback, i + 1, last, x0, ordered=True)
        m = row["m_of_x"] * x + row["m_of_x0"] * x0 if "m_of_x" in row else x0
        past = (m, *past)
        y = row["y_of_x"] * x + row["y_of_y"] * y + _combine(row["d"], past) if corrects else x
        x = row["a"] * y + _combine(row["b"], past)
        if "s" in row:
            x = x + row["s"] * _deviation(output, row) * z
        if project is not None:
            x = project(x, i)
        return State(x, x0, y if corrects else None, past[: len(state.past)])

    return jax.lax.fori_loop(first, last, body, state)


def _combine(weights: Array, past: tuple[Array, ...]) -> Array:
    return sum(weights[k] * past[k] for k in range(weights.shape[0]))


def _deviation(output: Array | Denoised, row: dict[str, Array]) -> Array | float:
    """The factor on s: 1, or the learned deviation with log Σ = f · upper + (1 − f) · lower."""
    if "log_variance" not in row:
        return 1.0
    if not isinstance(output, Denoised):
        raise ValueError(
            'variance="learned" needs a denoiser that returns Denoised(x0, variance_fraction)'
        )
    lower, upper = row["log_variance"]
    fraction = output.variance_fraction.astype(lower.dtype)
    return jnp.exp((lower + fraction * (upper - lower)) / 2)
