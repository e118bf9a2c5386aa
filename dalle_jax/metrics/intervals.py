"""Intervals of 95 % for the figures of tables."""

from collections.abc import Callable

import numpy as np

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson(right: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion of which `right` of `n` were observed.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with p = right / n; unlike p ± z·se it stays
    within [0, 1] and has a width at p = 0 and 1 (Wilson 1927, eq. 5).

    Raises:
        ValueError: n < 1, or `right` is not one of 0 … n.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} of {n} is no proportion: n must be ≥ 1 and right within 0 … n.")
    p = right / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # At the ends the two terms cancel; rounding must not leave a trace.
    low = 0.0 if right == 0 else float(center - half)
    high = 1.0 if right == n else float(center + half)
    return low, high


def bootstrap(
    values: np.ndarray,
    seed: int = 0,
    num_resamples: int = 2_000,
    level: float = 0.95,
    statistic: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over captions (Efron 1979).

    Args:
        values: one value a caption [N], or several [N, ...]. Resampled along the first axis, so
            that samples of one caption stay together: give [captions, samples], not a flat array.
        seed: of the resampling; the interval is a function of (values, seed) alone.
        num_resamples: how often N captions are drawn with replacement.
        level: share of the resampled statistics within the interval.
        statistic: from one resampled array [N, ...] to a scalar; the mean of all, if None.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    values = np.asarray(values, np.float64)
    if values.shape[:1] in ((), (0,)):
        raise ValueError(
            "A bootstrap interval needs one value a caption, and at least one caption."
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of the values are not finite.")
    rng = np.random.default_rng(seed)
    n = len(values)
    if statistic is None:
        # The mean of a resample is that of its captions' means.
        means = values.reshape(n, -1).mean(1)
        resampled = [means[rng.integers(n, size=n)].mean() for _ in range(num_resamples)]
    else:
        resampled = [statistic(values[rng.integers(n, size=n)]) for _ in range(num_resamples)]
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def jackknife_groups(n: int, num_groups: int = 10, seed: int = 0) -> np.ndarray:
    """Which of G random groups, as large as each other but for one, each of n images is in: [n].

    It is a function of (n, seed) alone, so that the same captions are together in all models' sets.

    Raises:
        ValueError: there are fewer images than two a group.
    """
    if n < 2 * num_groups:
        raise ValueError(f"{n} images are too few for a jackknife of {num_groups} groups")
    return np.random.default_rng(seed).permutation(n) % num_groups


def jackknife_error(left_out: np.ndarray) -> float:
    """Standard error by the delete-a-group jackknife, of values [G] with a group left out each.

    √((G−1)/G Σ (vᵍ − m)²), m their mean (Efron & Stein 1981).
    """
    left_out = np.asarray(left_out, np.float64)
    num_groups = len(left_out)
    spread = ((left_out - left_out.mean()) ** 2).sum()
    return float(np.sqrt((num_groups - 1) / num_groups * spread))


def percent(right: int, n: int) -> str:
    """A proportion with its interval as tables print it: "97.3 % [95.5, 98.4]"."""
    low, high = wilson(right, n)
    return f"{100 * right / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
