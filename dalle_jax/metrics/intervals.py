"""95 % confidence intervals."""

from collections.abc import Callable

import numpy as np

Z_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson(right: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion with `right` successes of `n`.

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n) with p = right / n. Unlike p ± z·se it is
    within [0, 1] and has a positive width at p = 0 and 1 (Wilson 1927, eq. 5).

    Raises:
        ValueError: n < 1, or `right` is not in 0 … n.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"a proportion needs n ≥ 1 and right in 0 … n; got {right} of {n}")
    p = right / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # At the ends the two terms cancel exactly, except for rounding.
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
    """The percentile bootstrap interval of a mean over captions (Efron 1979).

    Args:
        values: one value per caption [N], or several [N, ...]. The first axis is resampled, so that
            samples of one caption stay together: pass [captions, samples], not a flat array.
        seed: of the resampling; the interval depends only on values and seed.
        num_resamples: number of resamples of N captions with replacement.
        level: share of the resampled statistics within the interval.
        statistic: maps a resampled array [N, ...] to a scalar; None for the mean.

    Raises:
        ValueError: there are no values, or some are not finite.
    """
    values = np.asarray(values, np.float64)
    if values.shape[:1] in ((), (0,)):
        raise ValueError(
            "a bootstrap interval needs one value per caption and at least one caption"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} of the values are not finite")
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


def percent(right: int, n: int) -> str:
    """Format a proportion with its interval for tables: "97.3 % [95.5, 98.4]"."""
    low, high = wilson(right, n)
    return f"{100 * right / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
