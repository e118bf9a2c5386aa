"""Two sets of images to a row of results: FID and its kin, with intervals, floor and protocol."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.frechet import (
    Factored,
    extrapolate,
    factor,
    factor_of,
    frechet_distance,
    jackknife,
)
from dalle_jax.metrics.images import set_digest
from dalle_jax.metrics.inception_score import inception_score
from dalle_jax.metrics.intervals import bootstrap
from dalle_jax.metrics.kernel import kernel_inception_distance, mmd2_standard_error
from dalle_jax.metrics.manifold import manifold
from dalle_jax.metrics.protocol import Protocol, protocol_hash
from dalle_jax.metrics.reference import Reference, save_reference
from dalle_jax.metrics.statistics import Gaussian, Moments

# The tap that each metric reads. Precision and recall are of the same features as FID, as
# guided-diffusion has them.
METRIC_TAPS = {
    "fid": "2048",
    "sfid": "spatial",
    "kid": "2048",
    "prdc": "2048",
    "is": "logits_unbiased",
}
FRECHET = ("fid", "sfid")
ONE_SIDED = ("is",)  # of the fakes alone


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


def taps_of(metrics: Iterable[str]) -> list[str]:
    """The taps that metrics need.

    Raises:
        ValueError: a metric is unknown.
    """
    metrics = list(metrics)
    if unknown := [name for name in metrics if name not in METRIC_TAPS]:
        raise ValueError(
            f"there is no metric {unknown[0]!r} of two sets; known are {', '.join(METRIC_TAPS)}"
        )
    return sorted({METRIC_TAPS[name] for name in metrics})


def measure(
    images: Sequence[np.ndarray],
    extractor: FeatureExtractor,
    moments_of: Iterable[str],
    keep: Iterable[str],
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda done: None,
    **how: Any,
) -> Measured:
    """Stream a set of images through a network.

    `moments_of` and `keep` are the taps whose mean and covariance, or whose features, are wanted;
    `how` goes on to `features.extract`.
    """
    moments: dict[str, Moments] = {}
    kept: dict[str, list[np.ndarray]] = {tap: [] for tap in keep}
    digests: list[bytes] = []
    for batch in extract(images, extractor, batch_size, **how):
        for tap in moments_of:
            values = batch.features[tap]
            moments.setdefault(tap, Moments(values.shape[1])).add(values)
        for tap, parts in kept.items():
            parts.append(batch.features[tap])
        digests += batch.digests
        progress(len(digests))
    return Measured(
        len(digests),
        set_digest(digests),
        {tap: m.gaussian() for tap, m in moments.items()},
        {tap: np.concatenate(parts) for tap, parts in kept.items()},
    )


def compare_sets(
    fake: Sequence[np.ndarray],
    real: Sequence[np.ndarray] | Reference,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    settings: Settings | None = None,
    *,
    reference: str,
    statistics_out: str | Path | None = None,
    **how: Any,
) -> dict[str, Any]:
    """The row of results of fakes against reals: protocol, its hash, metrics and floor.

    `real` may be statistics alone where only Fréchet distances are asked for. `reference` is what
    the protocol calls it; `statistics_out` a file for its statistics; `how` goes on to `measure`.

    Raises:
        ValueError: a set is too small for a metric, a metric is unknown, statistics lack a tap or
            were made another way, or an image can't be read.
    """
    settings = settings or Settings()
    taps_of(metrics)
    _check_sizes(len(fake), None if isinstance(real, Reference) else len(real), metrics, settings)
    keep = sorted({METRIC_TAPS[m] for m in metrics if settings.intervals or m not in FRECHET})
    frechet_taps = sorted({METRIC_TAPS[m] for m in metrics if m in FRECHET})
    if isinstance(real, Reference):
        _check_reference(real, extractor, metrics)
        real_side = Measured(0, real.sha256, real.gaussians, {})
    else:
        two_sided = {METRIC_TAPS[m] for m in metrics if m not in ONE_SIDED}
        real_keep = [tap for tap in keep if tap in two_sided]
        wanted = frechet_taps if statistics_out else sorted(set(frechet_taps) - set(real_keep))
        real_side = measure(real, extractor, wanted, real_keep, **how)
        if statistics_out:
            made_with = {**_identity(extractor), "images_sha256": real_side.digest}
            save_reference(statistics_out, Reference(real_side.gaussians, made_with))
    fake_side = measure(fake, extractor, sorted(set(frechet_taps) - set(keep)), keep, **how)

    found: dict[str, Any] = {}
    for metric in metrics:
        tap = METRIC_TAPS[metric]
        if metric in FRECHET:
            found[metric] = _frechet(fake_side, real_side, tap, settings)
        elif metric == "kid":
            found[metric] = _kid(fake_side.features[tap], real_side.features[tap], settings)
        elif metric == "prdc":
            found |= _prdc(fake_side.features[tap], real_side.features[tap], settings)
        else:
            mean, std = inception_score(fake_side.features[tap], settings.is_splits, settings.seed)
            found[metric] = {"value": mean, "std_of_splits": std}
    protocol = Protocol(
        **_identity(extractor),
        num_images=fake_side.n,
        reference=reference,
        reference_sha256=real_side.digest,
        settings=asdict(settings),
    ).as_dict()
    row = {
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "fake_sha256": fake_side.digest,
        "metrics": found,
    }
    if settings.intervals and real_side.features:
        row["floor"] = _floor(real_side, fake_side.n, metrics, settings)
    return row


def _identity(extractor: FeatureExtractor) -> dict[str, Any]:
    """What features depend on but for the images."""
    return {
        "features": extractor.name,
        "features_sha256": extractor.sha256,
        "preprocessing": asdict(extractor.preprocess),
    }


def _frechet(fake: Measured, real: Measured, tap: str, settings: Settings) -> dict[str, Any]:
    real_factor = _factor(real, tap)
    if not settings.intervals:
        return {"value": frechet_distance(_factor(fake, tap), real_factor)}
    errors = jackknife(fake.features[tap], real_factor, seed=settings.seed)
    intercept, error = extrapolate(fake.features[tap], real_factor, seed=settings.seed)
    return {
        "value": errors.value,
        "interval": errors.interval,
        "standard_error": errors.standard_error,
        "extrapolated": intercept,
        "extrapolated_standard_error": error,
    }


def _factor(side: Measured, tap: str) -> Factored:
    if tap in side.features:
        return factor_of(side.features[tap])
    return factor(side.gaussians[tap])


def _kid(fake: np.ndarray, real: np.ndarray, settings: Settings) -> dict[str, Any]:
    kid = kernel_inception_distance(
        fake, real, settings.kid_subsets, settings.kid_subset_size, settings.seed
    )
    found = {"value": kid.mean, "std_of_subsets": kid.std}
    if settings.intervals:
        error = mmd2_standard_error(fake, real, seed=settings.seed)
        found |= {
            "standard_error": error,
            "interval": (kid.mean - 1.96 * error, kid.mean + 1.96 * error),
        }
    return found


def _prdc(fake: np.ndarray, real: np.ndarray, settings: Settings) -> dict[str, Any]:
    result = manifold(fake, real, settings.neighbours, settings.neighbours_density)
    return {
        name: {"value": float(values.mean())}
        | ({"interval": bootstrap(values, settings.seed)} if settings.intervals else {})
        for name, values in result.by_image.items()
    }


def _floor(
    real: Measured, n: int, metrics: Sequence[str], settings: Settings
) -> dict[str, float | int]:
    """What the metrics are between two disjoint random parts of the reals, n images each.

    Where there are fewer than 2n reals the parts are halves; "num_images" says how many it is of.
    """
    size = min(n, real.n // 2)
    order = np.random.default_rng(settings.seed).permutation(real.n)
    a, b = order[:size], order[size : 2 * size]
    floor: dict[str, float | int] = {"num_images": size}
    for metric in metrics:
        if metric in ONE_SIDED:
            continue
        features = real.features[METRIC_TAPS[metric]]
        if metric in FRECHET:
            floor[metric] = frechet_distance(factor_of(features[a]), factor_of(features[b]))
        elif metric == "kid" and size >= 2:
            subset = min(settings.kid_subset_size, size)
            floor[metric] = kernel_inception_distance(
                features[a], features[b], settings.kid_subsets, subset, settings.seed
            ).mean
        elif metric == "prdc" and size > max(settings.neighbours, settings.neighbours_density):
            result = manifold(
                features[a], features[b], settings.neighbours, settings.neighbours_density
            )
            floor |= {name: float(values.mean()) for name, values in result.by_image.items()}
    return floor


def _check_sizes(fakes: int, reals: int | None, metrics: Sequence[str], settings: Settings) -> None:
    least = {
        "fid": 20 if settings.intervals else 2,
        "sfid": 20 if settings.intervals else 2,
        "kid": settings.kid_subset_size,
        "prdc": max(settings.neighbours, settings.neighbours_density) + 1,
        "is": settings.is_splits,
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


def _check_reference(
    reference: Reference, extractor: FeatureExtractor, metrics: Sequence[str]
) -> None:
    for metric in metrics:
        if metric in FRECHET and METRIC_TAPS[metric] not in reference.gaussians:
            raise ValueError(f"the statistics of the reference have none for {metric}")
    for name, value in _identity(extractor).items():
        if reference.made_with.get(name, value) != value:
            raise ValueError(
                f"the statistics of the reference were made with {name} "
                f"{reference.made_with[name]!r}, not with {value!r}: their distance means nothing"
            )
