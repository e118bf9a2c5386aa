"""From sets of images to a results row: FID and related metrics, intervals, floor and protocol.

`measure` streams a set through the network: mean and covariance, or all features. `compare_samples`
has the metrics of the table computed from the features of fakes and reals.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.images import set_digest
from dalle_jax.metrics.metric import Results, SetFeatures, Settings
from dalle_jax.metrics.protocol import protocol_hash, set_protocol
from dalle_jax.metrics.reference import Reference, save_reference
from dalle_jax.metrics.statistics import Moments
from dalle_jax.metrics.table import METRICS
from dalle_jax.metrics.target import Target, check_sizes, open_target


class Compared(NamedTuple):
    """Results of sets of fakes against one reference.

    Attributes:
        entries: of a results row: "fake_sha256", "metrics" and, with intervals, "floor".
        by_image: values [images, seeds] of results that are means over images: precision and
            density over the fakes, recall and coverage over the reals.
        reference_sha256: identifies the reference in the protocol.
    """

    entries: dict[str, Any]
    by_image: dict[str, np.ndarray]
    reference_sha256: str


def compare_sets(
    fake: Sequence[np.ndarray],
    real: Sequence[np.ndarray] | Reference,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    settings: Settings | None = None,
    *,
    reference: str,
    decoding: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The results row of one set of fakes against the reals called `reference`.

    `decoding` says how image files were decoded, see `images.ImageFolder`; None without files.
    `options` are those of `compare_samples`.
    """
    settings = settings or Settings()
    found = compare_samples([fake], real, extractor, metrics, settings, **options)
    protocol = set_protocol(
        extractor.identity,
        settings,
        len(fake),
        reference,
        found.reference_sha256,
        decoding=decoding,
    )
    return {"protocol": protocol, "protocol_hash": protocol_hash(protocol), **found.entries}


def compare_samples(
    fakes: Sequence[Sequence[np.ndarray]],
    real: Sequence[np.ndarray] | Reference,
    extractor: FeatureExtractor,
    metrics: Sequence[str],
    settings: Settings,
    *,
    floor_images: Sequence[np.ndarray] | None = None,
    statistics_out: str | Path | None = None,
    **measure_options: Any,
) -> Compared:
    """Measure sets of fakes, one for each sampling seed and all of one size, against reals.

    Args:
        fakes: the images of each seed.
        real: the reference. Statistics suffice for Fréchet distances; other metrics use the images
            in the statistics' file, if it has any.
        extractor: the network whose features are compared.
        metrics: keys of the extractor's `taps`.
        settings: constants of the metrics.
        floor_images: extra reals, as many as in a set of fakes, for the floor. Without them the
            floor is computed between two disjoint subsets of the reference, of that size or half of
            the reference.
        statistics_out: a file for the reference's statistics.
        measure_options: `batch_size`, `progress`, `devices` and `num_threads` of `measure`.

    Raises:
        ValueError: a set is too small for a metric, a metric is unknown, the statistics lack a tap
            or were computed with other features, or an image can't be read.
    """
    if len({len(fake) for fake in fakes}) != 1:
        raise ValueError(f"all sets need the same size; got {[len(fake) for fake in fakes]} fakes")
    taps = {metric: extractor.tap(metric) for metric in metrics}
    target = open_target(real, taps, extractor.identity)
    check_sizes(len(fakes[0]), target, metrics, settings)
    stream = partial(measure, extractor=extractor, **measure_options)
    reals = _measure_reals(target, taps, settings, stream, statistics_out)
    references = {m: reals if m in target.from_images else target.statistics for m in metrics}
    moment_taps, feature_taps = split_taps(taps, settings)
    digests, by_seed = [], []
    for fake in fakes:
        features = stream(fake, moment_taps=moment_taps, feature_taps=feature_taps)
        digests.append(features.digest)
        by_seed.append(_results(features, references, taps, settings, extractor.name))
    settings_read = {
        METRICS[metric].result_name(result, extractor.name): list(read)
        for metric in metrics
        for result, read in METRICS[metric].settings.items()
    }
    entries = {
        "fake_sha256": digests[0] if len(digests) == 1 else digests,
        "metrics": {
            name: mean_over_seeds([results[name] for results, _ in by_seed]) | {"settings": read}
            for name, read in settings_read.items()
        },
    }
    if settings.intervals and reals is not None and reals.features:
        others = None
        if floor_images is not None:
            others = stream(floor_images, moment_taps=(), feature_taps=reals.features)
        entries["floor"] = _floor(reals, others, len(fakes[0]), taps, settings, extractor.name)
    by_image = {
        name: np.stack([values[name] for _, values in by_seed], 1) for name in by_seed[0][1]
    }
    return Compared(entries, by_image, target.sha256(reals and reals.digest))


def measure(
    images: Sequence[np.ndarray],
    extractor: FeatureExtractor,
    moment_taps: Collection[str],
    feature_taps: Collection[str],
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda done: None,
    **extract_options: Any,
) -> SetFeatures:
    """Stream a set of images uint8 [H, W, 3] through a network.

    Args:
        images, extractor, batch_size, extract_options: see `features.extract`.
        moment_taps: taps whose mean and covariance are computed.
        feature_taps: taps whose features are returned.
        progress: called after each batch with the number of images so far.
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


def split_taps(taps: Mapping[str, str], settings: Settings) -> tuple[set[str], set[str]]:
    """The taps of which metrics need mean and covariance only, and those with all features."""
    streamed = {
        metric
        for metric in taps
        if METRICS[metric].needs == "statistics" and not settings.intervals
    }
    features = {tap for metric, tap in taps.items() if metric not in streamed}
    return {taps[metric] for metric in streamed} - features, features


def _measure_reals(
    target: Target,
    taps: Mapping[str, str],
    settings: Settings,
    stream: Callable[..., SetFeatures],
    statistics_out: str | Path | None,
) -> SetFeatures | None:
    """The features of the reference's images, whose statistics are saved if that is asked for."""
    if target.images is None:
        return None
    moment_taps, feature_taps = split_taps({m: taps[m] for m in target.from_images}, settings)
    save = statistics_out and target.statistics is None
    if save:
        moment_taps = {tap for m, tap in taps.items() if METRICS[m].needs == "statistics"}
    reals = stream(target.images, moment_taps=moment_taps, feature_taps=feature_taps)
    if save:
        made_with = {**target.features, "images_sha256": reals.digest}
        save_reference(statistics_out, Reference(reals.gaussians, made_with))
    return reals


def _results(
    fake: SetFeatures,
    references: Mapping[str, SetFeatures | None],
    taps: Mapping[str, str],
    settings: Settings,
    network: str,
) -> Results:
    """The results of all metrics by their names in a row, for one set of fakes."""
    entries, by_image = {}, {}
    for metric, tap in taps.items():
        found, values = METRICS[metric].measure(fake, references[metric], tap, settings)
        name = lambda result, metric=metric: METRICS[metric].result_name(result, network)
        entries |= {name(result): found[result] for result in METRICS[metric].settings}
        by_image |= {name(result): values[result] for result in values}
    return entries, by_image


def _floor(
    real: SetFeatures,
    others: SetFeatures | None,
    num_images: int,
    taps: Mapping[str, str],
    settings: Settings,
    network: str,
) -> dict[str, Any]:
    """The metrics between `others` and the reals, or if None between two parts of the reals."""
    size = min(num_images, real.n // 2) if others is None else others.n
    if others is None:
        order = np.random.default_rng(settings.seed).permutation(real.n)
        others, real = (
            SetFeatures(size, "", {}, {tap: x[part] for tap, x in real.features.items()})
            for part in (order[:size], order[size : 2 * size])
        )
    smaller = min(others.n, real.n)
    settings = replace(
        settings, intervals=False, kid_subset_size=min(settings.kid_subset_size, smaller)
    )
    measurable = {
        metric: tap
        for metric, tap in taps.items()
        if tap in real.features and METRICS[metric].minimum(settings) <= smaller
    }
    results, _ = _results(others, dict.fromkeys(taps, real), measurable, settings, network)
    return {"num_images": size} | {name: entry["value"] for name, entry in results.items()}


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
