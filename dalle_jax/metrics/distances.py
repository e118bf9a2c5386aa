"""Distances between the features of fakes and reals: their values, errors and floors.

The floor of a distance is its value between two sets of real images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.metrics.frechet import (
    Factored,
    extrapolate,
    factor,
    factor_features,
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
        kid_subsets, kid_subset_size: number and size of KID's subsets.
        neighbours, neighbours_density: k of precision and recall, and of density and coverage.
        is_splits: splits of the Inception Score.
        intervals: whether to compute errors, FD∞ and the floor. They need all features in memory, 8
            kilobytes per image; without them FID and sFID use constant memory.
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
class SetFeatures:
    """The features of one set of images.

    Attributes:
        n: number of images.
        digest: SHA-256 of the set of their pixels.
        gaussians: mean and covariance by tap.
        features: [n, length] by tap, for the taps whose features are held.
    """

    n: int
    digest: str
    gaussians: Mapping[str, Gaussian]
    features: Mapping[str, np.ndarray]

    def factor(self, tap: str) -> Factored:
        """The Gaussian of a tap with its covariance factored."""
        if tap in self.features:
            return factor_features(self.features[tap])
        return factor(self.gaussians[tap])


Results = tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]  # entries, values by image
Floor = Callable[[np.ndarray, np.ndarray, Settings], dict[str, float]]


def frechet(name: str) -> Callable[[SetFeatures, SetFeatures, str, Settings], Results]:
    """The Fréchet distance of a tap, with its error and its extrapolation to n = ∞ (FD∞).

    "left_out" of an entry holds the metric without each tenth of the fakes. All sets of the same
    size leave out the same indices, so that a paired jackknife can compare two models.
    """

    def measure(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
        real_factor = real.factor(tap)
        num_features = len(real_factor.mean)
        if not settings.intervals:
            value = frechet_distance(fake.factor(tap), real_factor)
            return {name: {"value": value, "num_features": num_features}}, {}
        errors = jackknife(fake.features[tap], real_factor, seed=settings.seed)
        intercept, error = extrapolate(fake.features[tap], real_factor, seed=settings.seed)
        entry = {
            "value": errors.value,
            "interval": errors.interval,
            "standard_error": errors.standard_error,
            "left_out": errors.left_out.tolist(),
            "extrapolated": intercept,
            "extrapolated_standard_error": error,
            "num_features": num_features,
        }
        return {name: entry}, {}

    return measure


def frechet_floor(name: str) -> Floor:
    """The Fréchet distance between two sets of reals [n, D]."""
    return lambda a, b, settings: {name: frechet_distance(factor_features(a), factor_features(b))}


def measure_inception_score(
    fake: SetFeatures, real: SetFeatures | None, tap: str, settings: Settings
) -> Results:
    """The Inception Score of the fakes; it has no reference."""
    logits = fake.features[tap]
    mean, std = inception_score(logits, settings.is_splits, settings.seed)
    entry = {"value": mean, "std_of_splits": std}
    if settings.intervals:
        group = jackknife_groups(len(logits), seed=settings.seed)
        left_out = [
            inception_score(logits[group != g], settings.is_splits, settings.seed)[0]
            for g in range(group.max() + 1)
        ]
        entry |= _jackknife_entry(mean, np.array(left_out))
    return {"is": entry}, {}


def measure_kid(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """KID over subsets, with the standard error of the unbiased MMD² of all features."""
    x, y = fake.features[tap], real.features[tap]
    kid = kernel_inception_distance(
        x, y, settings.kid_subsets, settings.kid_subset_size, settings.seed
    )
    entry = {"value": kid.mean, "std_of_subsets": kid.std}
    if settings.intervals:
        entry |= _jackknife_entry(kid.mean, mmd2_left_out(x, y, seed=settings.seed))
    return {"kid": entry}, {}


def kid_floor(a: np.ndarray, b: np.ndarray, settings: Settings) -> dict[str, float]:
    """KID between two sets of reals [n, D], whose size limits that of the subsets."""
    size = min(len(a), len(b))
    if size < 2:
        return {}
    subset = min(settings.kid_subset_size, size)
    kid = kernel_inception_distance(a, b, settings.kid_subsets, subset, settings.seed)
    return {"kid": kid.mean}


def measure_cmmd(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """CMMD with its standard error."""
    x, y = fake.features[tap], real.features[tap]
    entry: dict[str, Any] = {"value": cmmd(x, y)}
    if settings.intervals:
        left_out = mmd2_left_out(normalized(x), normalized(y), gaussian_kernel, seed=settings.seed)
        entry |= _jackknife_entry(entry["value"], CMMD_SCALE * left_out)
    return {"cmmd": entry}, {}


def cmmd_floor(a: np.ndarray, b: np.ndarray, settings: Settings) -> dict[str, float]:
    """CMMD between two sets of reals [n, D]."""
    return {"cmmd": cmmd(a, b)}


def _jackknife_entry(value: float, left_out: np.ndarray) -> dict[str, Any]:
    """The error and the interval of a value, from its values with a group left out [G]."""
    error = jackknife_error(left_out)
    return {
        "standard_error": error,
        "interval": (value - Z_95 * error, value + Z_95 * error),
        "left_out": left_out.tolist(),
    }


def measure_prdc(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """Precision and density (means over the fakes), recall and coverage (means over the reals)."""
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
    """The four metrics between two sets of reals [n, D]; none if the sets are too small."""
    if min(len(a), len(b)) <= max(settings.neighbours, settings.neighbours_density):
        return {}
    result = manifold(a, b, settings.neighbours, settings.neighbours_density)
    return {name: float(values.mean()) for name, values in result.by_image.items()}
