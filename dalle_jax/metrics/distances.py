"""Each metric between the features of fakes and reals: its value, its error and its floor."""

from collections.abc import Mapping, Sequence
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

FRECHET = ("fid", "sfid")
ONE_SIDED = ("is",)  # of the fakes alone
MANIFOLD = ("precision", "recall", "density", "coverage")  # together "prdc"

# What a metric is called on other features than Inception's, of which alone "FID" is said.
GENERIC_NAMES = {"fid": "FD", "kid": "KD", "cmmd": "CMMD"}


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


def result_name(metric: str, features: str) -> str:
    """What a row calls a metric of the network `features`: `fid`, but `FD[clip:0123456789ab]`."""
    if features == "inception":
        return metric
    return f"{GENERIC_NAMES.get(metric, metric)}[{features}]"


def result_names(metrics: Sequence[str], features: str) -> tuple[str, ...]:
    """What a row has of the metrics: of "prdc" four."""
    single = [name for metric in metrics for name in (MANIFOLD if metric == "prdc" else (metric,))]
    return tuple(result_name(name, features) for name in single)


def distance(
    metric: str, tap: str, fake: Measured, real: Measured | None, settings: Settings
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """A metric with its errors, or the four metrics of "prdc"; `real` is None for those of one set.

    Returns:
        name -> {"value": ..., ...}, and name -> [N] of those metrics that are means over the images
        of one side. "left_out" of an entry holds the metric with a tenth of the fakes left out each
        time, the same ones of all sets of as many images: by it two models are compared.
    """
    if metric == "prdc":
        return _prdc(fake.features[tap], real.features[tap], settings)
    if metric in FRECHET:
        entry = _frechet(fake, real, tap, settings)
    elif metric == "is":
        entry = _inception_score(fake.features[tap], settings)
    else:
        kernel_distance = {"kid": _kid, "cmmd": _cmmd}[metric]
        entry = kernel_distance(fake.features[tap], real.features[tap], settings)
    return {metric: entry}, {}


def _frechet(fake: Measured, real: Measured, tap: str, settings: Settings) -> dict[str, Any]:
    real_factor = real.factor(tap)
    found = {"num_features": len(real_factor.mean)}
    if not settings.intervals:
        return {"value": frechet_distance(fake.factor(tap), real_factor), **found}
    errors = jackknife(fake.features[tap], real_factor, seed=settings.seed)
    intercept, error = extrapolate(fake.features[tap], real_factor, seed=settings.seed)
    return {
        "value": errors.value,
        "interval": errors.interval,
        "standard_error": errors.standard_error,
        "left_out": errors.left_out.tolist(),
        "extrapolated": intercept,
        "extrapolated_standard_error": error,
        **found,
    }


def _inception_score(logits: np.ndarray, settings: Settings) -> dict[str, Any]:
    mean, std = inception_score(logits, settings.is_splits, settings.seed)
    found = {"value": mean, "std_of_splits": std}
    if settings.intervals:
        group = jackknife_groups(len(logits), seed=settings.seed)
        left_out = [
            inception_score(logits[group != g], settings.is_splits, settings.seed)[0]
            for g in range(group.max() + 1)
        ]
        found |= _around(mean, np.array(left_out))
    return found


def _kid(fake: np.ndarray, real: np.ndarray, settings: Settings) -> dict[str, Any]:
    kid = kernel_inception_distance(
        fake, real, settings.kid_subsets, settings.kid_subset_size, settings.seed
    )
    found = {"value": kid.mean, "std_of_subsets": kid.std}
    if settings.intervals:
        found |= _around(kid.mean, mmd2_left_out(fake, real, seed=settings.seed))
    return found


def _cmmd(fake: np.ndarray, real: np.ndarray, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {"value": cmmd(fake, real)}
    if settings.intervals:
        left_out = mmd2_left_out(
            normalized(fake), normalized(real), gaussian_kernel, seed=settings.seed
        )
        found |= _around(found["value"], CMMD_SCALE * left_out)
    return found


def _around(value: float, left_out: np.ndarray) -> dict[str, Any]:
    error = jackknife_error(left_out)
    return {
        "standard_error": error,
        "interval": (value - Z_95 * error, value + Z_95 * error),
        "left_out": left_out.tolist(),
    }


def _prdc(
    fake: np.ndarray, real: np.ndarray, settings: Settings
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    result = manifold(fake, real, settings.neighbours, settings.neighbours_density)
    entries = {
        name: {"value": float(values.mean())}
        | ({"interval": bootstrap(values, settings.seed)} if settings.intervals else {})
        for name, values in result.by_image.items()
    }
    return entries, result.by_image


def floor(
    a: Mapping[str, np.ndarray],
    b: Mapping[str, np.ndarray],
    taps: Mapping[str, str],
    settings: Settings,
) -> dict[str, float]:
    """What the metrics are of reals against other reals, features [n, length] by tap.

    Args:
        a: in the place of the fakes.
        b: in the place of the reals.
        taps: the tap of each metric; those of one set alone, and those that so few images do not
            allow, are left out.
        settings: of the metrics; a subset of KID takes no more images than there are.
    """
    found: dict[str, float] = {}
    for metric, tap in taps.items():
        if metric in ONE_SIDED:
            continue
        x, y = a[tap], b[tap]
        size = min(len(x), len(y))
        if metric in FRECHET:
            found[metric] = frechet_distance(factor_of(x), factor_of(y))
        elif metric == "kid" and size >= 2:
            subset = min(settings.kid_subset_size, size)
            found[metric] = kernel_inception_distance(
                x, y, settings.kid_subsets, subset, settings.seed
            ).mean
        elif metric == "cmmd":
            found[metric] = cmmd(x, y)
        elif metric == "prdc" and size > max(settings.neighbours, settings.neighbours_density):
            result = manifold(x, y, settings.neighbours, settings.neighbours_density)
            found |= {name: float(values.mean()) for name, values in result.by_image.items()}
    return found


def check_sizes(fakes: int, reals: int | None, metrics: Sequence[str], settings: Settings) -> None:
    """Whether there are images enough for each metric; reals is None for statistics alone.

    Raises:
        ValueError: there are not.
    """
    least = {
        "fid": 20 if settings.intervals else 2,
        "sfid": 20 if settings.intervals else 2,
        "kid": settings.kid_subset_size,
        "cmmd": 20 if settings.intervals else 2,
        "prdc": max(settings.neighbours, settings.neighbours_density) + 1,
        "is": max(20, 2 * settings.is_splits) if settings.intervals else settings.is_splits,
    }
    for metric in metrics:
        sides = {"fakes": fakes} if metric in ONE_SIDED else {"fakes": fakes, "reals": reals}
        for side, count in sides.items():
            if count is not None and count < least[metric]:
                hint = "; give a smaller --kid_subset_size" if metric == "kid" else ""
                raise ValueError(
                    f"there are {count} {side}; {metric} needs at least {least[metric]}{hint}"
                )
    if reals is None and (others := [m for m in metrics if m not in FRECHET + ONE_SIDED]):
        raise ValueError(
            f"{others[0]} needs the images of the reference; statistics serve fid and sfid alone"
        )
