"""Distances between the features of fakes and reals: their values, errors and floors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.metrics.frechet import (
    Factored,
    extrapolate,
    factor,
    factor_of,
    frechet_distance,
    jackknife,
)
from dalle_jax.metrics.inception_score import inception_score
from dalle_jax.metrics.intervals import (
    Z_95,
    bootstrap,
    jackknife_error,
    jackknife_groups,
)
from dalle_jax.metrics.kernel import (
    CMMD_SCALE,
    cmmd,
    gaussian_kernel,
    kernel_inception_distance,
    mmd2_left_out,
    normalized,
)
from dalle_jax.metrics.manifold import manifold
from dalle_jax.metrics.statistics import Gaussian


@dataclass(frozen=True)
class Settings:
    """Constants of the metrics, at their published values.

    Attributes:
        kid_subsets, kid_subset_size: of KID.
        neighbours, neighbours_density: k of precision and recall, and of density and coverage.
        is_splits: of the Inception Score.
        intervals: whether errors, FD∞ and the floor are computed. They need all features at once, 8
            kilobytes an image; without them, FID and sFID run in a memory that does not grow.
        seed: of shuffles, subsets and resampling.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    neighbours: int = 3
    neighbours_density: int = 5
    is_splits: int = 10
    intervals: bool = True
    seed: int = 2020


@dataclass(frozen=True)
class Measured:
    """One set of images after its features are through.

    Attributes:
        n: number of images.
        digest: of the set of their pixels.
        gaussians: mean and covariance by tap.
        features: [n, length] by tap, of the taps that were kept.
    """

    n: int
    digest: str
    gaussians: Mapping[str, Gaussian]
    features: Mapping[str, np.ndarray]

    def factor(self, tap: str) -> Factored:
        """The covariance of a tap, factored."""
        if tap in self.features:
            return factor_of(self.features[tap])
        return factor(self.gaussians[tap])


Results = tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]  # entries, values by image
Floor = Callable[[np.ndarray, np.ndarray, Settings], dict[str, float]]


def frechet(name: str) -> Callable[[Measured, Measured, str, Settings], Results]:
    """The Fréchet distance of a tap, with its error and its extrapolation to n = ∞ (FD∞).

    "left_out" of an entry holds the metric with a tenth of the fakes left out each time, the same
    ones of all sets of as many images: by it two models are compared.
    """

    def measure(fake: Measured, real: Measured, tap: str, settings: Settings) -> Results:
        real_factor = real.factor(tap)
        found = {"num_features": len(real_factor.mean)}
        if not settings.intervals:
            value = frechet_distance(fake.factor(tap), real_factor)
            return {name: {"value": value, **found}}, {}
        errors = jackknife(fake.features[tap], real_factor, seed=settings.seed)
        intercept, error = extrapolate(fake.features[tap], real_factor, seed=settings.seed)
        entry = {
            "value": errors.value,
            "interval": errors.interval,
            "standard_error": errors.standard_error,
            "left_out": errors.left_out.tolist(),
            "extrapolated": intercept,
            "extrapolated_standard_error": error,
            **found,
        }
        return {name: entry}, {}

    return measure


def frechet_floor(name: str) -> Floor:
    """The distance of reals [n, D] from other reals."""
    return lambda a, b, settings: {name: frechet_distance(factor_of(a), factor_of(b))}


def inception_score_of(
    fake: Measured, real: Measured | None, tap: str, settings: Settings
) -> Results:
    """The Inception Score of the fakes; there is no reference."""
    logits = fake.features[tap]
    mean, std = inception_score(logits, settings.is_splits, settings.seed)
    found = {"value": mean, "std_of_splits": std}
    if settings.intervals:
        group = jackknife_groups(len(logits), seed=settings.seed)
        left_out = [
            inception_score(logits[group != g], settings.is_splits, settings.seed)[0]
            for g in range(group.max() + 1)
        ]
        found |= _around(mean, np.array(left_out))
    return {"is": found}, {}


def kid(fake: Measured, real: Measured, tap: str, settings: Settings) -> Results:
    """The kernel distance over subsets, with the standard error of the unbiased MMD² of all."""
    x, y = fake.features[tap], real.features[tap]
    of_subsets = kernel_inception_distance(
        x, y, settings.kid_subsets, settings.kid_subset_size, settings.seed
    )
    found = {"value": of_subsets.mean, "std_of_subsets": of_subsets.std}
    if settings.intervals:
        found |= _around(of_subsets.mean, mmd2_left_out(x, y, seed=settings.seed))
    return {"kid": found}, {}


def kid_floor(a: np.ndarray, b: np.ndarray, settings: Settings) -> dict[str, float]:
    """The kernel distance of reals from other reals; a subset takes no more than there are."""
    size = min(len(a), len(b))
    if size < 2:
        return {}
    subset = min(settings.kid_subset_size, size)
    found = kernel_inception_distance(a, b, settings.kid_subsets, subset, settings.seed)
    return {"kid": found.mean}


def cmmd_of(fake: Measured, real: Measured, tap: str, settings: Settings) -> Results:
    """CMMD with its standard error."""
    x, y = fake.features[tap], real.features[tap]
    found: dict[str, Any] = {"value": cmmd(x, y)}
    if settings.intervals:
        left_out = mmd2_left_out(normalized(x), normalized(y), gaussian_kernel, seed=settings.seed)
        found |= _around(found["value"], CMMD_SCALE * left_out)
    return {"cmmd": found}, {}


def cmmd_floor(a: np.ndarray, b: np.ndarray, settings: Settings) -> dict[str, float]:
    """CMMD of reals from other reals."""
    return {"cmmd": cmmd(a, b)}


def _around(value: float, left_out: np.ndarray) -> dict[str, Any]:
    error = jackknife_error(left_out)
    return {
        "standard_error": error,
        "interval": (value - Z_95 * error, value + Z_95 * error),
        "left_out": left_out.tolist(),
    }


def prdc(fake: Measured, real: Measured, tap: str, settings: Settings) -> Results:
    """Precision and density, means over the fakes; recall and coverage, means over the reals."""
    result = manifold(
        fake.features[tap], real.features[tap], settings.neighbours, settings.neighbours_density
    )
    entries = {
        name: {"value": float(values.mean())}
        | ({"interval": bootstrap(values, settings.seed)} if settings.intervals else {})
        for name, values in result.by_image.items()
    }
    return entries, result.by_image


def prdc_floor(a: np.ndarray, b: np.ndarray, settings: Settings) -> dict[str, float]:
    """The four of reals against other reals, where there are more of them than neighbours."""
    if min(len(a), len(b)) <= max(settings.neighbours, settings.neighbours_density):
        return {}
    result = manifold(a, b, settings.neighbours, settings.neighbours_density)
    return {name: float(values.mean()) for name, values in result.by_image.items()}
