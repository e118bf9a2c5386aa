"""Sets of images to a row of results: FID and its kin, with intervals, floor and protocol."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.metrics.distances import Measured, Settings
from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.images import open_images, set_digest
from dalle_jax.metrics.protocol import Protocol, protocol_hash
from dalle_jax.metrics.reference import Reference, save_reference
from dalle_jax.metrics.statistics import Moments
from dalle_jax.metrics.table import METRICS, check_sizes


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
    **options: Any,
) -> dict[str, Any]:
    """The row of results of one set of fakes against reals; see `compare_samples`."""
    return compare_samples([fake], real, extractor, metrics, settings, **options)[0]


def compare_samples(
    fakes: Sequence[Sequence[np.ndarray]],
    real: Sequence[np.ndarray] | Reference,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    settings: Settings | None = None,
    *,
    reference: str,
    floor_images: Sequence[np.ndarray] | None = None,
    statistics_out: str | Path | None = None,
    manifest_sha256: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    decoding: str | None = None,
    **how: Any,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The row of results, and the values [images, seeds] of metrics that are means over images.

    Those are precision and density, over the fakes, and recall and coverage, over the reals.

    Args:
        fakes: sets of as many images each, one for each sampling seed.
        real: the reference. Statistics serve Fréchet distances; other metrics are of the images
            that their file holds too, if it does.
        extractor: the network whose features are compared.
        metrics: keys of the extractor's `taps`.
        settings: constants of the metrics.
        reference: what the protocol calls the reference.
        floor_images: further reals, as many as a set of fakes, for the floor; without them it is
            taken between two halves of the reference, or of as many images where there are enough.
        statistics_out: a file for the reference's statistics.
        manifest_sha256, sampling: of the protocol, where the fakes were made from captions.
        decoding: how files of images were decoded, if there were any; see `images.ImageFolder`.
        how: goes on to `measure`.

    Raises:
        ValueError: a set is too small for a metric, a metric is unknown, statistics lack a tap or
            were made another way, or an image can't be read.
    """
    settings = settings or Settings()
    taps = {metric: extractor.tap(metric) for metric in metrics}
    if len({len(fake) for fake in fakes}) != 1:
        raise ValueError(f"sets of {[len(fake) for fake in fakes]} fakes are not of one size")
    num_images = len(fakes[0])
    statistics = real if isinstance(real, Reference) else None
    of_images = metrics_of_images(metrics, extractor, statistics)
    reals = reference_images(real, of_images)
    check_sizes(num_images, None if reals is None else len(reals), metrics, settings)
    keep = sorted({tap for m, tap in taps.items() if settings.intervals or not _is_frechet(m)})
    frechet_taps = sorted({tap for m, tap in taps.items() if _is_frechet(m)})
    real_keep = [tap for tap in keep if tap in {taps[m] for m in of_images}]
    statistics_side = real_side = None
    if statistics:
        _check_reference(statistics, extractor, taps, reals is not None)
        statistics_side = Measured(0, statistics.sha256, statistics.gaussians, {})
    if reals is not None:
        moments_of = {taps[m] for m in of_images if _is_frechet(m)} - set(real_keep)
        moments_of = frechet_taps if statistics_out and not statistics else sorted(moments_of)
        real_side = measure(reals, extractor, moments_of, real_keep, **how)
        if statistics_out and not statistics:
            made_with = {**_identity(extractor), "images_sha256": real_side.digest}
            save_reference(statistics_out, Reference(real_side.gaussians, made_with))
    against = {m: real_side if m in of_images else statistics_side for m in metrics}
    found, by_image, digests = [], [], []
    for fake in fakes:
        side = measure(fake, extractor, sorted(set(frechet_taps) - set(keep)), keep, **how)
        results = [METRICS[m].measure(side, against[m], tap, settings) for m, tap in taps.items()]
        found.append({name: entry for entries, _ in results for name, entry in entries.items()})
        by_image.append({name: one for _, single in results for name, one in single.items()})
        digests.append(side.digest)
    sha256 = reference_digest(statistics, None if real_side is None else real_side.digest)
    of_captions = (manifest_sha256, sampling, decoding)
    protocol = protocol_of_sets(extractor, settings, num_images, reference, sha256, *of_captions)
    row = {
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "fake_sha256": digests[0] if len(digests) == 1 else digests,
        "metrics": {
            metric.is_called(name, extractor.name): over_seeds([values[name] for values in found])
            | {"settings": list(read)}
            for metric in map(METRICS.get, metrics)
            for name, read in metric.settings.items()
        },
    }
    if settings.intervals and real_side is not None and real_side.features:
        others = None
        if floor_images is not None:
            others = measure(floor_images, extractor, (), real_keep, **how)
        row["floor"] = _floor(real_side, others, num_images, taps, extractor.name, settings)
    return row, _by_result(by_image, metrics, extractor.name)


def _by_result(
    by_seed: Sequence[Mapping[str, np.ndarray]], metrics: Sequence[str], network: str
) -> dict[str, np.ndarray]:
    """The single images' values [images, seeds] by the name of the result in a row."""
    return {
        METRICS[metric].is_called(name, network): np.stack([one[name] for one in by_seed], 1)
        for metric in metrics
        for name in METRICS[metric].settings
        if name in by_seed[0]
    }


def _floor(
    real: Measured,
    others: Measured | None,
    num_images: int,
    taps: Mapping[str, str],
    network: str,
    settings: Settings,
) -> dict[str, Any]:
    """What the metrics are of reals against reals: `others`, or two random parts of the reals."""
    if others is not None:
        a, b, size = others.features, real.features, others.n
    else:
        size = min(num_images, real.n // 2)
        order = np.random.default_rng(settings.seed).permutation(real.n)
        a, b = (
            {tap: values[part] for tap, values in real.features.items()}
            for part in (order[:size], order[size : 2 * size])
        )
    return {"num_images": size} | {
        METRICS[metric].is_called(name, network): value
        for metric, tap in taps.items()
        if tap in a and METRICS[metric].floor
        for name, value in METRICS[metric].floor(a[tap], b[tap], settings).items()
    }


def metrics_of_images(
    metrics: Sequence[str], extractor: FeatureExtractor, statistics: Reference | None
) -> list[str]:
    """The metrics that compare with images of the reference, and not with its statistics."""
    known = () if statistics is None else statistics.gaussians
    return [
        metric
        for metric in metrics
        if METRICS[metric].needs != "nothing"
        and not (_is_frechet(metric) and extractor.tap(metric) in known)
    ]


def reference_images(
    real: Sequence[np.ndarray] | Reference, metrics: Sequence[str]
) -> Sequence[np.ndarray] | None:
    """The images of a reference; of statistics those in their file, if `metrics` ask for images."""
    if not isinstance(real, Reference):
        return real
    return open_images(real.images) if real.images and metrics else None


def reference_digest(statistics: Reference | None, images_sha256: str | None) -> str:
    """What a protocol knows a reference by: its statistics, its images, or both."""
    found = [] if statistics is None else [statistics.sha256]
    found += [] if images_sha256 is None else [images_sha256]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def protocol_of_sets(
    extractor: FeatureExtractor,
    settings: Settings,
    num_images: int,
    reference: str,
    reference_sha256: str,
    manifest_sha256: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    decoding: str | None = None,
) -> dict[str, Any]:
    """The protocol of `compare_samples`' row, which can be known before anything is measured."""
    identity = _identity(extractor)
    # Only of files: rows of generated images and of arrays say nothing of it.
    if decoding not in (None, "upright"):
        identity["preprocessing"]["decoding"] = decoding
    return Protocol(
        **identity,
        num_images=num_images,
        reference=reference,
        reference_sha256=reference_sha256,
        settings=asdict(settings),
        manifest_sha256=manifest_sha256,
        sampling=sampling,
    ).as_dict()


def over_seeds(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One entry of a row from those of several sampling seeds: the mean of each of their numbers.

    The ends of the interval are averaged too: that is the interval of one seed, which the others do
    not narrow, as their images are of the same captions. `by_seed` holds the values, `std_of_seeds`
    their standard deviation (n − 1).
    """
    if len(found) == 1:
        return dict(found[0])
    mean = {
        name: np.mean([np.asarray(one[name], float) for one in found], 0).tolist()
        for name in found[0]
    }
    values = [one["value"] for one in found]
    return {**mean, "by_seed": values, "std_of_seeds": float(np.std(values, ddof=1))}


def _is_frechet(metric: str) -> bool:
    return METRICS[metric].needs == "statistics"


def _identity(extractor: FeatureExtractor) -> dict[str, Any]:
    """What features depend on but for the images."""
    return {
        "features": extractor.name,
        "features_sha256": extractor.sha256,
        "preprocessing": asdict(extractor.preprocess),
    }


def _check_reference(
    reference: Reference, extractor: FeatureExtractor, taps: Mapping[str, str], has_images: bool
) -> None:
    for metric, tap in taps.items():
        if _is_frechet(metric) and tap not in reference.gaussians and not has_images:
            raise ValueError(f"the statistics of the reference have none for {metric}")
    for name, value in _identity(extractor).items():
        if reference.made_with.get(name, value) != value:
            raise ValueError(
                f"the statistics of the reference were made with {name} "
                f"{reference.made_with[name]!r}, not with {value!r}: their distance means nothing"
            )
