"""What is measured of generated images in one go, and the measurement of sets: FID and others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.evaluation.captions import HeldOut, Images
from dalle_jax.evaluation.networks import check_network, open_features
from dalle_jax.interop.inception import load
from dalle_jax.metrics.features import FeatureExtractor, inception_extractor
from dalle_jax.metrics.images import ImageFolder, pixel_digest, set_digest
from dalle_jax.metrics.metric import Settings
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.protocol import set_protocol
from dalle_jax.metrics.sets import compare_samples
from dalle_jax.metrics.table import METRICS, result_names, taps_for
from dalle_jax.metrics.target import open_reference, open_target

RESAMPLING_SEED = 2020


@dataclass(frozen=True)
class Measurement:
    """Metrics that depend on the same things, and so share a row.

    Attributes:
        protocol: all that their values depend on, except the model.
        names: of metrics that the row has once they are measured.
        measure: maps a sequence of images for each seed, and the rows of the manifest whose
            captions they show, to the entries of the row, such as "metrics" and "floor", and the
            scores by caption.
    """

    protocol: dict[str, Any]
    names: tuple[str, ...]
    measure: Callable[
        [Sequence[Sequence[np.ndarray]], Sequence[int]],
        tuple[dict[str, Any], dict[str, np.ndarray]],
    ]


def set_measurement(
    metrics: Sequence[str],
    extractor: FeatureExtractor,
    held_out: HeldOut,
    sampling: dict[str, Any],
    reference: str | None = None,
    kid_subset_size: int | None = None,
) -> Measurement:
    """Metrics between the images and the captions' real ones, or those at the path `reference`.

    Raises:
        FileNotFoundError: there is nothing at that path.
        ValueError: a metric is not defined on the features, or there are too few images for it.
    """
    num_images = len(held_out.captions)
    settings = Settings(
        kid_subset_size=kid_subset_size or min(1000, num_images // 2), seed=RESAMPLING_SEED
    )
    decoding = "converted" if extractor.name == "inception" else "upright"
    fixed = None if reference is None else open_reference(reference, decoding)
    taps = {metric: extractor.tap(metric) for metric in metrics}
    target = open_target(held_out.images if fixed is None else fixed, taps, extractor.identity)
    images_sha256 = None
    if target.images is not None:
        images_sha256 = set_digest(pixel_digest(np.asarray(image)) for image in target.images)
    protocol = set_protocol(
        extractor.identity,
        settings,
        num_images,
        reference or held_out.name,
        target.sha256(images_sha256),
        held_out.manifest.sha256,
        sampling,
        fixed.decoding if isinstance(fixed, ImageFolder) else None,
    )

    def measure(images, rows):
        floor_images = None
        if len(rows) == num_images:
            if fixed is None:
                floor_images = held_out.further_images(settings.seed)
            else:
                floor_images = held_out.images
        reals = Images(held_out.source, rows) if fixed is None else fixed
        found = compare_samples(
            images, reals, extractor, metrics, settings, floor_images=floor_images
        )
        names = ("metrics", "floor", "fake_sha256")
        entries = {name: found.entries[name] for name in names if name in found.entries}
        return entries, found.by_image

    return Measurement(protocol, result_names(metrics, extractor.name), measure)


def open_extractor(
    metrics: Sequence[str],
    inception: str | Path | None,
    features: str | Path | None,
    preprocessing: Preprocessing,
) -> FeatureExtractor:
    """The network whose features are compared: Inception from a file, or a trained run.

    Raises:
        FileNotFoundError: there is no such file or run.
        ValueError: neither or both are given, no metric is named or one is unknown, or the run's
            stage has no features.
    """
    if not metrics:
        raise ValueError(f"--metrics names none; known of two sets are {', '.join(METRICS)}")
    if unknown := [name for name in metrics if name not in METRICS]:
        raise ValueError(
            f"there is no metric {unknown[0]!r} of two sets; known are {', '.join(METRICS)}"
        )
    check_network(metrics, inception, features)
    if features:
        return open_features(features).extractor
    weights = load(inception)
    taps = sorted({tap for name, tap in taps_for("inception").items() if name in metrics})
    return inception_extractor(weights.params, weights.sha256, preprocessing, taps)
