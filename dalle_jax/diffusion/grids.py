"""Time grids: the times t at which a sampler evaluates the network.

A grid function returns the descending times t [steps] of the evaluations; the chain then ends on
clean data (`time_grid` appends the end). For a schedule of T steps the times of "trailing",
"leading", "linspace" and "sections" are whole steps n / T, which respaces the model (Improved DDPM
§4). The names are those of the papers and of diffusers (Lin et al. 2024, table 2).
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np

from dalle_jax.diffusion.arrays import safe_log
from dalle_jax.diffusion.schedules import Schedule

MAX_STEPS = 100_000  # computing its table takes seconds; the papers' longest chain has 4,000


@dataclass(frozen=True)
class Grid:
    """The nodes of the chain: float64 arrays [N + 1] on the host, whose last entry is its end."""

    schedule: Schedule
    t: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray

    @cached_property
    def log_ratio(self) -> np.ndarray:
        """λ = log(alpha / sigma) of the DPM-Solver papers: half the logsnr, ∞ at clean data."""
        return safe_log(self.alpha) - safe_log(self.sigma)


def trailing(schedule: Schedule, steps: int) -> np.ndarray:
    """1, 1 − 1/steps, …, 1/steps: starts at t = 1, as a zero terminal SNR needs."""
    T = schedule.num_timesteps
    n = np.arange(steps, 0, -1)
    return np.round(n * T / steps) / T if T else n / steps


def leading(schedule: Schedule, steps: int, steps_offset: int = 0) -> np.ndarray:
    """Multiples of T // steps, plus steps_offset: never reaches t = 1 (DDIM's and DDPM's code)."""
    T = schedule.num_timesteps or 1000
    if not isinstance(steps_offset, Integral) or steps_offset < 0:
        raise ValueError(f"steps_offset is {steps_offset!r}; it must be a whole number, 0 or more")
    index = np.arange(steps)[::-1] * (T // steps) + steps_offset
    return (index + 1) / T


def linspace(schedule: Schedule, steps: int) -> np.ndarray:
    """Evenly spaced from 1 to the first step (or t_min), inclusive (Improved DDPM's strides)."""
    T = schedule.num_timesteps
    if T is None or steps == 1:
        return np.linspace(1, schedule.t_min, steps)
    return (np.round(np.linspace(0, T - 1, steps))[::-1] + 1) / T


def sections(schedule: Schedule, steps: int, counts: tuple[int, ...] = (10, 10, 3, 2, 2)):
    """counts[i] even strides in the i-th of equal parts of the T steps, counted from the clean end.

    GLIDE's 27 steps are (10, 10, 3, 2, 2) (2112.10741, code).
    """
    T = schedule.num_timesteps
    if T is None or sum(counts) != steps:
        raise ValueError(
            f'spacing "sections" needs a discrete schedule and counts that add up to the {steps} '
            f'steps; got schedule "{schedule.name}" and counts {tuple(counts)}'
        )
    edges = [T // len(counts) * i + min(i, T % len(counts)) for i in range(len(counts) + 1)]
    parts = [
        np.round(np.linspace(low, high - 1, count)) if count > 1 else np.array([low])
        for low, high, count in zip(edges[:-1], edges[1:], counts)
    ]
    return (np.concatenate(parts)[::-1] + 1) / T


def uniform_logsnr(schedule: Schedule, steps: int, sigma_min=None, sigma_max=None) -> np.ndarray:
    """logsnr evenly spaced (DPM-Solver §3.3): the same as σ = sigma / alpha in geometric steps."""
    low, high = _sigma_range(schedule, sigma_min, sigma_max)
    return schedule.time(-2 * np.linspace(np.log(high), np.log(low), steps))


def karras(
    schedule: Schedule, steps: int, rho: float = 7.0, sigma_min=None, sigma_max=None
) -> np.ndarray:
    """σ = sigma / alpha with σ^(1/ρ) evenly spaced (EDM, equation 5)."""
    if not 0 < rho < np.inf:
        raise ValueError(f"rho is {rho}; it must be greater than 0 and finite")
    low, high = _sigma_range(schedule, sigma_min, sigma_max)
    sigma = np.linspace(high ** (1 / rho), low ** (1 / rho), steps) ** rho
    return schedule.time(-2 * np.log(sigma))


def beta(schedule: Schedule, steps: int, a: float = 0.6, b: float = 0.6) -> np.ndarray:
    """Quantiles of Beta(a, b) in t: dense at both ends (Lee et al. 2024, 2407.12173)."""
    from scipy.special import betaincinv

    if not (0 < a < np.inf and 0 < b < np.inf):
        raise ValueError(f"a is {a} and b is {b}; both must be greater than 0 and finite")
    T = schedule.num_timesteps
    t = schedule.t_min + (1 - schedule.t_min) * betaincinv(a, b, np.linspace(1, 0, steps))
    return np.round(t * T) / T if T else t


SPACINGS = {
    "trailing": trailing,
    "leading": leading,
    "linspace": linspace,
    "sections": sections,
    "logsnr": uniform_logsnr,
    "exponential": uniform_logsnr,
    "karras": karras,
    "beta": beta,
}


def time_grid(
    schedule: Schedule, steps: int, spacing: str | np.ndarray = "trailing", **options
) -> Grid:
    """The grid of a named spacing, or of `steps + 1` descending times including the end.

    An end at t = 0 is clean data, alpha = 1 and sigma = 0, even if the schedule's sigma(0) is
    above 0.
    """
    whole = isinstance(steps, Integral) and not isinstance(steps, bool)
    if not whole or not 1 <= steps <= MAX_STEPS:
        raise ValueError(
            f"a sampler takes a whole number of steps, 1 to {MAX_STEPS:,}; got {steps!r}"
        )
    if isinstance(spacing, str):
        if spacing not in SPACINGS:
            raise ValueError(f'no spacing "{spacing}"; known are {", ".join(SPACINGS)}')
        asked = np.asarray(SPACINGS[spacing](schedule, steps, **options), np.float64)
        t = np.append(asked, 0.0)
    else:
        try:
            t = np.asarray(spacing)
        except ValueError:  # lists of several lengths
            t = np.asarray(None)
        if t.dtype.kind not in "iuf":
            raise ValueError(
                f"spacing is {spacing!r}; it must be one of {', '.join(SPACINGS)}, or the times of "
                "all steps and of the end"
            )
        t = t.astype(np.float64)
        if t.shape != (steps + 1,):
            raise ValueError(
                f"a spacing given as times needs steps + 1 = {steps + 1} times including the end; "
                f"got shape {t.shape}"
            )
    with np.errstate(invalid="ignore", divide="ignore"):  # of times that are refused below
        alpha, sigma = np.array(schedule.alpha(t)), np.array(schedule.sigma(t))
    if t[-1] == 0:
        alpha[-1], sigma[-1] = 1.0, 0.0
    falls = np.diff(sigma / (alpha + sigma)) < 0  # False for NaN
    if not (t.min() >= 0 and t.max() <= 1 and falls.all()):
        raise ValueError(
            f"times in [0, 1] and their noise levels must decrease strictly; {steps} steps of "
            f'schedule "{schedule.name}" gave {np.array2string(t, precision=4, threshold=8)}'
        )
    return Grid(schedule, t, alpha, sigma)


def grid_options(spacing: str | np.ndarray) -> tuple[str, ...]:
    """The names of the options that a spacing takes."""
    if not isinstance(spacing, str) or spacing not in SPACINGS:
        return ()
    return tuple(inspect.signature(SPACINGS[spacing]).parameters)[2:]


def _sigma_range(schedule: Schedule, sigma_min, sigma_max) -> tuple[float, float]:
    low = sigma_min if sigma_min is not None else float(schedule.noise_ratio(schedule.t_min))
    high = sigma_max if sigma_max is not None else float(schedule.noise_ratio(1.0))
    if not 0 < low < high < np.inf:
        raise ValueError(
            f'this spacing needs 0 < sigma_min < sigma_max < ∞; schedule "{schedule.name}" gives '
            f"{low} and {high}: give sigma_max, or use a spacing in t"
        )
    return low, high
