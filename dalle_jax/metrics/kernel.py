"""Kernel distances: KID on Inception features, CMMD on CLIP features."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.metrics.jackknife import jackknife_entry, jackknife_groups
from dalle_jax.metrics.metric import Results, SetFeatures, Settings

BLOCK = 2048  # rows of a kernel matrix in memory
CMMD_BANDWIDTH = 10.0
CMMD_SCALE = 1000.0

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measure_kid(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """KID over subsets, with the standard error of the unbiased MMD² of all features."""
    x, y = fake.features[tap], real.features[tap]
    kid = kernel_inception_distance(
        x, y, settings.kid_subsets, settings.kid_subset_size, settings.seed
    )
    entry = {"value": kid.mean, "std_of_subsets": kid.std}
    if settings.intervals:
        entry |= jackknife_entry(kid.mean, mmd2_left_out(x, y, seed=settings.seed))
    return {"kid": entry}, {}


def measure_cmmd(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """CMMD with its standard error."""
    x, y = fake.features[tap], real.features[tap]
    entry: dict[str, Any] = {"value": cmmd(x, y)}
    if settings.intervals:
        left_out = mmd2_left_out(normalized(x), normalized(y), gaussian_kernel, seed=settings.seed)
        entry |= jackknife_entry(entry["value"], CMMD_SCALE * left_out)
    return {"cmmd": entry}, {}


def polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x·y / D + 1)³ of features [N, D] and [M, D] (Bińkowski et al. 2018, 1801.01401, §4)."""
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def gaussian_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """exp(−|x − y|² / 2σ²) with σ = 10, the kernel of CMMD."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.exp(-squared / (2 * CMMD_BANDWIDTH**2))


def mmd2(x: np.ndarray, y: np.ndarray, kernel: Kernel, *, unbiased: bool) -> float:
    """The squared maximum mean discrepancy of features [N, D] and [M, D], float64.

    The unbiased estimate is Σ_{i≠j} k(xᵢ, xⱼ) / N(N−1) + the same for y − 2 Σ k(xᵢ, yⱼ) / NM, which
    may be negative. The biased estimate includes the pairs i = j (Gretton et al. 2012, eq. 3, 5).

    Raises:
        ValueError: the features have different lengths, or there are fewer than two of either.
    """
    _check(x, y, 2)
    return (
        _mean_within(x, kernel, unbiased)
        + _mean_within(y, kernel, unbiased)
        - 2 * _sum(x, y, kernel) / (len(x) * len(y))
    )


def _mean_within(x: np.ndarray, kernel: Kernel, unbiased: bool) -> float:
    n, total = len(x), _sum(x, x, kernel)
    if not unbiased:
        return total / n**2
    return (total - _diagonal(x, kernel)) / (n * (n - 1))


def _diagonal(x: np.ndarray, kernel: Kernel) -> float:
    """Σᵢ k(xᵢ, xᵢ)."""
    return sum(float(kernel(row, row)[0, 0]) for row in np.asarray(x, np.float64)[:, None])


def _sum(x: np.ndarray, y: np.ndarray, kernel: Kernel) -> float:
    """Σᵢⱼ k(xᵢ, yⱼ), block by block."""
    return sum(
        float(
            kernel(
                np.asarray(x[i : i + BLOCK], np.float64), np.asarray(y[j : j + BLOCK], np.float64)
            ).sum()
        )
        for i in range(0, len(x), BLOCK)
        for j in range(0, len(y), BLOCK)
    )


class KID(NamedTuple):
    """The mean and the standard deviation of the unbiased MMD² over subsets.

    `std` is the deviation of a single subset, as the published tools print it: the spread of
    evaluations of one subset's size. The error of the mean is smaller.
    """

    mean: float
    std: float


def kernel_inception_distance(
    fake: np.ndarray,
    real: np.ndarray,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KID:
    """KID of features [N, D] and [M, D], by default over 100 subsets of 1,000.

    The subsets are those of torch-fidelity with the same seed.

    Raises:
        ValueError: there are fewer features than `subset_size`.
    """
    _check(fake, real, subset_size)
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(num_subsets):
        x = fake[rng.choice(len(fake), subset_size, replace=False)]
        y = real[rng.choice(len(real), subset_size, replace=False)]
        values.append(mmd2(x, y, polynomial_kernel, unbiased=True))
    return KID(float(np.mean(values)), float(np.std(values)))


def mmd2_left_out(
    fake: np.ndarray,
    real: np.ndarray,
    kernel: Kernel = polynomial_kernel,
    num_groups: int = 10,
    seed: int = 0,
) -> np.ndarray:
    """The unbiased MMD² [G] to a fixed reference without each of G random groups of the fakes.

    The term that depends only on the reference, a constant, is omitted, so that only differences
    between groups or models are meaningful. The kernel is summed once over each pair of groups.

    Raises:
        ValueError: there are fewer than two fakes per group.
    """
    _check(fake, real, 2)
    group = jackknife_groups(len(fake), num_groups, seed)
    parts = [fake[group == g] for g in range(num_groups)]
    sizes = np.array([len(part) for part in parts])
    within = np.array([[_sum(p, q, kernel) for q in parts] for p in parts])  # [G, G]
    diagonal = np.array([_diagonal(part, kernel) for part in parts])
    across = np.array([_sum(part, real, kernel) for part in parts])
    left_out = []
    for g in range(num_groups):
        rest = np.arange(num_groups) != g
        n = sizes[rest].sum()
        inner = within[np.ix_(rest, rest)].sum() - diagonal[rest].sum()
        left_out.append(inner / (n * (n - 1)) - 2 * across[rest].sum() / (n * len(real)))
    return np.array(left_out)


def cmmd(fake: np.ndarray, real: np.ndarray) -> float:
    """CMMD: 1,000 times the biased MMD² of normalized CLIP embeddings [N, D] and [M, D], σ = 10.

    Jayasumana et al. 2024, arXiv 2401.09603, with their constants. Published values use CLIP
    ViT-L/14 at 336 pixels; results name the CLIP.
    """
    return CMMD_SCALE * mmd2(normalized(fake), normalized(real), gaussian_kernel, unbiased=False)


def normalized(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] scaled to length 1, float64.

    Raises:
        ValueError: an embedding is zero or not finite.
    """
    embeddings = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    if not ((length > 0) & np.isfinite(length)).all():
        raise ValueError("an embedding is zero or not finite, so it can't be normalized")
    return embeddings / length


def _check(x: np.ndarray, y: np.ndarray, least: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features {list(x.shape)} and {list(y.shape)} can't be compared")
    if min(len(x), len(y)) < least:
        raise ValueError(
            f"{len(x)} and {len(y)} images are too few: each side needs at least {least}"
        )
