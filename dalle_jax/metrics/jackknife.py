"""The delete-a-group jackknife: the error of a metric that is not a mean over images."""

from typing import Any

import numpy as np

from dalle_jax.metrics.intervals import Z_95


def jackknife_groups(n: int, num_groups: int = 10, seed: int = 0) -> np.ndarray:
    """The random group, 0 … G − 1, of each of n images: [n]. Sizes differ by at most one.

    The groups depend only on n and seed, so that they hold the same captions for all models.

    Raises:
        ValueError: there are fewer than two images per group.
    """
    if n < 2 * num_groups:
        raise ValueError(f"{n} images are too few for a jackknife of {num_groups} groups")
    return np.random.default_rng(seed).permutation(n) % num_groups


def jackknife_error(left_out: np.ndarray) -> float:
    """The delete-a-group jackknife's standard error, from the values without each group [G].

    √((G−1)/G Σ (vᵍ − m)²), where m is their mean (Efron & Stein 1981).
    """
    left_out = np.asarray(left_out, np.float64)
    num_groups = len(left_out)
    spread = ((left_out - left_out.mean()) ** 2).sum()
    return float(np.sqrt((num_groups - 1) / num_groups * spread))


def jackknife_entry(value: float, left_out: np.ndarray) -> dict[str, Any]:
    """The part of a result's entry with its error, from its values without each group [G]."""
    error = jackknife_error(left_out)
    return {
        "standard_error": error,
        "interval": (value - Z_95 * error, value + Z_95 * error),
        "left_out": left_out.tolist(),
    }
