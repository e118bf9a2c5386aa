"""From sets of images to a results row: FID and related metrics, intervals, floor and protocol."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.metrics.distances import SetFeatures, Settings
from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.images import open_images, set_digest
from dalle_jax.metrics.protocol import Protocol, protocol_hash
from dalle_jax.metrics.reference import Reference, save_reference
from dalle_jax.metrics.statistics import Moments
from dalle_jax.metrics.table import METRICS, check_sizes


def measure(
    images: Sequence[np.ndarray],
    extractor: FeatureExtractor,
    moment_taps: Iterable[str],
    feature_taps: Iterable[str],
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda done: None,
    **extract_options: Any,
) -> SetFeatures:
    """Stream a set of images through a network.

    Args:
        images: uint8 [H, W, 3] each.
        extractor: the network.
        moment_taps: taps whose mean and covariance are computed.
        feature_taps: taps whose features are returned.
        batch_size: images per batch.
        progress: called after each batch with the number of images so far.
        extract_options: `devices` and `num_threads` of `features.extract`.
    """
    moments: dict[str, Moments] = {}
    features: dict[str, list[np.ndarray]] = {tap: [] for tap in feature_taps}
    digests: list[bytes] = []
    for batch in extract(images, extractor, batch_size, **extract_options):
        for tap in moment_taps:
            values = batch.features[tap]
            moments.setdefault(tap, Moments(values.shape[1])).add(values)
        for tap, parts in features.items():
            parts.append(batch.features[tap])
        digests += batch.digests
        progress(len(digests))
    return SetFeatures(
        len(digests),
        set_digest(digests),
        {tap: m.gaussian() for tap, m in moments.items()},
        {tap: np.concatenate(parts) for tap, parts in features.items()},
    )


def compare_sets(
    fake: Sequence[np.ndarray],
    real: Sequence[np.ndarray] | Reference,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    settings: Settings | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The results row of one set of fakes against reals; see `compare_samples`."""
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
    **measure_options: Any,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The results row, and the values [images, seeds] of metrics that are means over images.

    Those are precision and density over the fakes, and recall and coverage over the reals.

    Args:
        fakes: one set of images for each sampling seed, all of one size.
        real: the reference. Statistics suffice for Fréchet distances; other metrics use the images
            in the statistics' file, if it has any.
        extractor: the network whose features are compared.
        metrics: keys of the extractor's `taps`.
        settings: constants of the metrics.
        reference: the reference's name in the protocol.
        floor_images: extra reals, as many as in a set of fakes, for the floor. Without them the
            floor is computed between two disjoint subsets of the reference, of that size or half of
            the reference.
        statistics_out: a file for the reference's statistics.
        manifest_sha256, sampling: of the protocol, for fakes that were generated from captions.
        decoding: how image files were decoded, see `images.ImageFolder`; None without files.
        measure_options: `batch_size`, `progress`, `devices` and `num_threads` of `measure`.

    Raises:
        ValueError: a set is too small for a metric, a metric is unknown, the statistics lack a tap
            or were computed with other features, or an image can't be read.
    """
    settings = settings or Settings()
    taps = {metric: extractor.tap(metric) for metric in metrics}
    if len({len(fake) for fake in fakes}) != 1:
        raise ValueError(f"all sets need the same size; got {[len(fake) for fake in fakes]} fakes")
    num_images = len(fakes[0])
    statistics = real if isinstance(real, Reference) else None
    image_metrics = metrics_of_images(metrics, extractor, statistics)
    reals = reference_images(real, image_metrics)
    check_sizes(num_images, None if reals is None else len(reals), metrics, settings)
    fake_taps = sorted({tap for m, tap in taps.items() if settings.intervals or not _is_frechet(m)})
    frechet_taps = sorted({tap for m, tap in taps.items() if _is_frechet(m)})
    real_taps = [tap for tap in fake_taps if tap in {taps[m] for m in image_metrics}]
    real_statistics = real_features = None
    if statistics:
        _check_reference(statistics, extractor, taps, reals is not None)
        real_statistics = SetFeatures(0, statistics.sha256, statistics.gaussians, {})
    if reals is not None:
        moment_taps = {taps[m] for m in image_metrics if _is_frechet(m)} - set(real_taps)
        moment_taps = frechet_taps if statistics_out and not statistics else sorted(moment_taps)
        real_features = measure(reals, extractor, moment_taps, real_taps, **measure_options)
        if statistics_out and not statistics:
            made_with = {**_identity(extractor), "images_sha256": real_features.digest}
            save_reference(statistics_out, Reference(real_features.gaussians, made_with))
    references = {m: real_features if m in image_metrics else real_statistics for m in metrics}
    entries_by_seed, values_by_seed, digests = [], [], []
    moment_taps = sorted(set(frechet_taps) - set(fake_taps))
    for fake in fakes:
        features = measure(fake, extractor, moment_taps, fake_taps, **measure_options)
        results = [
            METRICS[m].measure(features, references[m], tap, settings) for m, tap in taps.items()
        ]
        entries_by_seed.append({name: e for entries, _ in results for name, e in entries.items()})
        values_by_seed.append({name: v for _, values in results for name, v in values.items()})
        digests.append(features.digest)
    sha256 = reference_digest(statistics, None if real_features is None else real_features.digest)
    protocol = set_protocol(
        extractor,
        settings,
        num_images,
        reference,
        sha256,
        manifest_sha256,
        sampling,
        decoding,
    )
    row = {
        "protocol": protocol,
        "protocol_hash": protocol_hash(protocol),
        "fake_sha256": digests[0] if len(digests) == 1 else digests,
        "metrics": {
            metric.result_name(name, extractor.name): mean_over_seeds(
                [entries[name] for entries in entries_by_seed]
            )
            | {"settings": list(read)}
            for metric in map(METRICS.get, metrics)
            for name, read in metric.settings.items()
        },
    }
    if settings.intervals and real_features is not None and real_features.features:
        others = None
        if floor_images is not None:
            others = measure(floor_images, extractor, (), real_taps, **measure_options)
        row["floor"] = _floor(real_features, others, num_images, taps, extractor.name, settings)
    return row, _by_result(values_by_seed, metrics, extractor.name)


def _by_result(
    by_seed: Sequence[Mapping[str, np.ndarray]], metrics: Sequence[str], network: str
) -> dict[str, np.ndarray]:
    """The values by image [images, seeds], by the name of the result in a row."""
    return {
        METRICS[metric].result_name(name, network): np.stack([one[name] for one in by_seed], 1)
        for metric in metrics
        for name in METRICS[metric].settings
        if name in by_seed[0]
    }


def _floor(
    real: SetFeatures,
    others: SetFeatures | None,
    num_images: int,
    taps: Mapping[str, str],
    network: str,
    settings: Settings,
) -> dict[str, Any]:
    """The metrics between `others` and the reals, or if None between two parts of the reals."""
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
        METRICS[metric].result_name(name, network): value
        for metric, tap in taps.items()
        if tap in a and METRICS[metric].floor
        for name, value in METRICS[metric].floor(a[tap], b[tap], settings).items()
    }


def metrics_of_images(
    metrics: Sequence[str], extractor: FeatureExtractor, statistics: Reference | None
) -> list[str]:
    """The metrics that are computed from images of the reference, not from its statistics."""
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
    """The images of a reference; for statistics those in their file, if `metrics` need images."""
    if not isinstance(real, Reference):
        return real
    return open_images(real.images) if real.images and metrics else None


def reference_digest(statistics: Reference | None, images_sha256: str | None) -> str:
    """The hash that identifies a reference by its statistics, its images, or both."""
    hashes = [] if statistics is None else [statistics.sha256]
    hashes += [] if images_sha256 is None else [images_sha256]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def set_protocol(
    extractor: FeatureExtractor,
    settings: Settings,
    num_images: int,
    reference: str,
    reference_sha256: str,
    manifest_sha256: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    decoding: str | None = None,
) -> dict[str, Any]:
    """The protocol of `compare_samples`' row, which does not need any measurement."""
    identity = _identity(extractor)
    # Only for image files: rows of generated images and of arrays do not have it.
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


def mean_over_seeds(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of a row from the entries of several sampling seeds: the means of their numbers.

    The ends of the interval are averaged too. The result is the interval of one seed: further seeds
    do not narrow it, since their images have the same captions. `by_seed` has the values and
    `std_of_seeds` their standard deviation (n − 1).
    """
    if len(entries) == 1:
        return dict(entries[0])
    mean = {
        name: np.mean([np.asarray(entry[name], float) for entry in entries], 0).tolist()
        for name in entries[0]
    }
    values = [entry["value"] for entry in entries]
    return {**mean, "by_seed": values, "std_of_seeds": float(np.std(values, ddof=1))}


def _is_frechet(metric: str) -> bool:
    return METRICS[metric].needs == "statistics"


def _identity(extractor: FeatureExtractor) -> dict[str, Any]:
    """The fields of a protocol that identify the features."""
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
            raise ValueError(f"the statistics of the reference have no features for {metric}")
    for name, value in _identity(extractor).items():
        if reference.made_with.get(name, value) != value:
            raise ValueError(
                f"the statistics of the reference were made with {name} "
                f"{reference.made_with[name]!r}, not with {value!r}, and can't be compared"
            )
