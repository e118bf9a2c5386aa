"""The Fréchet distance between Gaussians, its bias in the number of images, and its error.

FD = |μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)                     (Heusel et al. 2017, eq. 6)

With Σ₁ = A Aᵀ and Σ₂ = B Bᵀ the trace of the root is the sum of the singular values of Aᵀ B. This
avoids the square root of a non-symmetric product, needs no ε on the diagonal, and is exact for
singular covariances, which occur with fewer images than features.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dalle_jax.metrics.jackknife import jackknife_error, jackknife_groups
from dalle_jax.metrics.metric import Results, SetFeatures, Settings
from dalle_jax.metrics.statistics import Gaussian, fit_gaussian


def measure_frechet(
    name: str, fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings
) -> Results:
    """The Fréchet distance of a tap; with intervals its error and its value at n = ∞ (FD∞) too.

    "left_out" of an entry holds the metric without each tenth of the fakes. All sets of the same
    size leave out the same indices, so that a paired jackknife can compare two models.
    """
    real_factor = _factored(real, tap)
    num_features = len(real_factor.mean)
    if not settings.intervals:
        value = frechet_distance(_factored(fake, tap), real_factor)
        return {name: {"value": value, "num_features": num_features}}, {}
    errors = jackknife(fake.features[tap], real_factor, seed=settings.seed)
    at_infinity, error = extrapolate(fake.features[tap], real_factor, seed=settings.seed)
    entry = {
        "value": errors.value,
        "interval": errors.interval,
        "standard_error": errors.standard_error,
        "left_out": errors.left_out.tolist(),
        "extrapolated": at_infinity,
        "extrapolated_standard_error": error,
        "num_features": num_features,
    }
    return {name: entry}, {}


@dataclass(frozen=True)
class Factored:
    """A Gaussian as its mean [D] and a factor A [D, r] of its covariance A Aᵀ of rank r."""

    mean: np.ndarray
    factor: np.ndarray

    @cached_property
    def trace(self) -> float:
        """The trace of the covariance."""
        return float((self.factor**2).sum())


def factor(gaussian: Gaussian) -> Factored:
    """Factor a covariance by its eigenvalues, without those that are rounding errors.

    Raises:
        ValueError: the covariance is not symmetric, not finite or clearly not positive.
    """
    sigma = np.asarray(gaussian.covariance, np.float64)
    if sigma.ndim != 2 or sigma.shape != (len(gaussian.mean),) * 2:
        raise ValueError(f"a covariance of {len(gaussian.mean)} features can't be {sigma.shape}")
    if not np.isfinite(sigma).all() or not np.isfinite(gaussian.mean).all():
        raise ValueError("the mean or the covariance is not finite")
    scale = np.abs(sigma).max()
    if not np.allclose(sigma, sigma.T, rtol=0, atol=1e-6 * scale):
        raise ValueError("a covariance must be symmetric")
    values, vectors = np.linalg.eigh((sigma + sigma.T) / 2)
    if values[0] < -1e-3 * max(values[-1], 0):
        raise ValueError(f"a covariance can't have the eigenvalue {values[0]:.3g}")
    positive = values > max(values[-1], 0) * len(values) * np.finfo(np.float64).eps
    A = vectors[:, positive] * np.sqrt(values[positive])
    return Factored(np.asarray(gaussian.mean, np.float64), A)


def factor_features(features: np.ndarray) -> Factored:
    """The factored Gaussian of features [N, D]; if N ≤ D the factor is the centred features."""
    if len(features) > features.shape[1]:
        return factor(fit_gaussian(features))
    if len(features) < 2:
        raise ValueError(f"a covariance needs at least 2 images, got {len(features)}")
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    return Factored(mean, (features - mean).T / np.sqrt(len(features) - 1))


def _factored(images: SetFeatures, tap: str) -> Factored:
    if tap in images.features:
        return factor_features(images.features[tap])
    return factor(images.gaussians[tap])


def frechet_distance(a: Gaussian | Factored, b: Gaussian | Factored) -> float:
    """The Fréchet distance of two Gaussians, which is symmetric and 0 if they are equal.

    Raises:
        ValueError: their lengths differ, or a matrix is not a covariance.
    """
    a, b = (g if isinstance(g, Factored) else factor(g) for g in (a, b))
    if len(a.mean) != len(b.mean):
        raise ValueError(
            f"features of length {len(a.mean)} can't be compared with ones of length {len(b.mean)}"
        )
    root_trace = np.linalg.svd(a.factor.T @ b.factor, compute_uv=False).sum()
    return float(((a.mean - b.mean) ** 2).sum() + a.trace + b.trace - 2 * root_trace)


class Jackknife(NamedTuple):
    """FD with its error.

    Attributes:
        value: FD of all features.
        standard_error: of `value`, by the delete-a-group jackknife.
        interval: value ± 1.96 standard errors, within [0, ∞).
        left_out: [G] FD without each group.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    left_out: np.ndarray


def jackknife(
    features: np.ndarray, reference: Gaussian | Factored, num_groups: int = 10, seed: int = 0
) -> Jackknife:
    """FD of features [N, D] to a fixed reference, with the error of the delete-a-group jackknife.

    FD without each of G random groups is FD₋ᵍ with mean m. The standard error is that of
    `jackknife_error`, and G FD − (G−1) m is free of FD's bias of order 1/n (Efron & Stein 1981).

    Raises:
        ValueError: there are fewer than two features per group.
    """
    group = jackknife_groups(len(features), num_groups, seed)
    reference = reference if isinstance(reference, Factored) else factor(reference)
    value = frechet_distance(factor_features(features), reference)
    left_out = np.array(
        [
            frechet_distance(factor_features(features[group != g]), reference)
            for g in range(num_groups)
        ]
    )
    error = jackknife_error(left_out)
    interval = (max(0.0, value - 1.96 * error), value + 1.96 * error)
    return Jackknife(value, error, interval, left_out)


def extrapolate(
    features: np.ndarray,
    reference: Gaussian | Factored,
    num_points: int = 10,
    smallest_share: float = 0.5,
    seed: int = 0,
) -> tuple[float, float]:
    """FD∞: a linear fit in 1/n to FD of random subsets of the features [N, D], at 1/n = 0.

    FD's bias is c/n to first order, so that the intercept is free of it (Chong & Forsyth 2020,
    arXiv 1911.07023, §4). The sizes of the subsets are equally spaced in 1/n from
    `smallest_share` · N to N.

    Returns:
        The intercept, and its standard error from the fit. The error is a lower bound, since the
        fit ignores that the subsets overlap.
    """
    n = len(features)
    if smallest_share * n < 4 or num_points < 3:
        raise ValueError(f"{n} images and {num_points} points are too few to extrapolate FD")
    reference = reference if isinstance(reference, Factored) else factor(reference)
    rng = np.random.default_rng(seed)
    sizes = np.round(1 / np.linspace(1 / n, 1 / (smallest_share * n), num_points)).astype(int)
    values = [
        frechet_distance(
            factor_features(features[np.sort(rng.choice(n, size, replace=False))]), reference
        )
        for size in sizes
    ]
    (_, intercept), covariance = np.polyfit(1 / sizes, values, 1, cov=True)
    return float(intercept), float(np.sqrt(covariance[1, 1]))
