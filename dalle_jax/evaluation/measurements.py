"""What is measured of a workdir's images: by oracle, by CLIP, between sets, against training."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.images import center_crop_resize
from dalle_jax.evaluation.captions import HeldOut, Images, source_arguments
from dalle_jax.evaluation.memorization import measure_memorization
from dalle_jax.evaluation.networks import open_extractor, open_features
from dalle_jax.metrics import oracle
from dalle_jax.metrics.captioned import (
    R_PRECISION_CANDIDATES,
    Scored,
    clip_scores,
    oracle_accuracy,
)
from dalle_jax.metrics.clip_score import CLIP_SCORES
from dalle_jax.metrics.distances import Settings
from dalle_jax.metrics.features import CenterCropResize, extract
from dalle_jax.metrics.images import ImageFolder, open_images, pixel_digest, set_digest
from dalle_jax.metrics.intervals import wilson
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.protocol import Protocol
from dalle_jax.metrics.reference import Reference, is_statistics, load_reference
from dalle_jax.metrics.sets import (
    compare_samples,
    metrics_of_images,
    reference_digest,
    reference_images,
    set_protocol,
)
from dalle_jax.metrics.table import result_names
from dalle_jax.runs import Run

RESAMPLING_SEED = 2020


@dataclass(frozen=True)
class Measurement:
    """Metrics that depend on the same things, and so share a row.

    Attributes:
        protocol: all that their values depend on, but for the model.
        names: of metrics that a row has once they are measured.
        measure: from a sequence of images for each seed, and the numbers in the manifest of the
            captions that they are of, to (entries of the row as metrics and floor, scores by
            caption).
    """

    protocol: dict[str, Any]
    names: tuple[str, ...]
    measure: Callable[
        [Sequence[Sequence[np.ndarray]], Sequence[int]],
        tuple[dict[str, Any], dict[str, np.ndarray]],
    ]


def by_oracle(held_out: HeldOut, sampling: dict[str, Any]) -> Measurement:
    """Which of a caption's statements hold, for captions of captioned_shapes.

    Raises:
        ValueError: a caption is outside the grammar that the oracle reads.
    """
    statements = [oracle.parse(caption) for caption in held_out.captions]
    constants = ("MIN_AREA", "MIN_OVERLAP", "MAX_COLOR_DISTANCE", "SIZE_EDGE")
    protocol = Protocol(
        features="oracle",
        features_sha256=None,
        preprocessing={},
        num_images=len(statements),
        reference=None,
        reference_sha256=None,
        settings={name.lower(): getattr(oracle, name) for name in constants},
        manifest_sha256=held_out.manifest.sha256,
        sampling=sampling,
    ).as_dict()

    def measure(images, rows):
        captions = [held_out.captions[i] for i in rows]
        real = oracle_accuracy(captions, [[held_out.images[i] for i in rows]])
        return _scored(oracle_accuracy(captions, images), real, len(rows))

    return Measurement(protocol, ("oracle/caption",), measure)


def by_clip(run: str | Path, held_out: HeldOut, sampling: dict[str, Any]) -> Measurement:
    """How near images are to their captions in the space of a trained CLIP.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: the run is no CLIP.
    """
    network = open_features(run)
    if network.embed_captions is None:
        raise ValueError(f"{run} is no CLIP: it has no features of captions")
    extractor, name = network.extractor, network.extractor.name
    protocol = Protocol(
        features=name,
        features_sha256=extractor.sha256,
        preprocessing=asdict(extractor.preprocess),
        num_images=len(held_out.captions),
        reference=None,
        reference_sha256=None,
        settings={
            "caption_prefix": "",
            "r_precision_candidates": R_PRECISION_CANDIDATES,
            "seed": RESAMPLING_SEED,
        },
        manifest_sha256=held_out.manifest.sha256,
        sampling=sampling,
    ).as_dict()

    def embed(images) -> np.ndarray:
        return np.concatenate([b.features["features"] for b in extract(images, extractor)])

    def measure(images, rows):
        texts = [held_out.captions[i] for i in rows]
        captions = network.embed_captions(texts)
        drawn = np.stack([embed(of_seed) for of_seed in images])
        real = embed(Images(held_out.source, rows))[None]
        scored, floor = (
            clip_scores(name, captions, embeddings, texts, RESAMPLING_SEED)
            for embeddings in (drawn, real)
        )
        return _scored(scored, floor, len(rows))

    return Measurement(protocol, tuple(f"{variant}[{name}]" for variant in CLIP_SCORES), measure)


def between_sets(
    metrics: Sequence[str],
    held_out: HeldOut,
    sampling: dict[str, Any],
    *,
    data_dir: str,
    inception: str | None,
    features: str | None,
    preprocessing: Preprocessing,
    reference: str | None,
    kid_subset_size: int | None,
) -> Measurement:
    """FID and its kin between the images and the real ones, or those at the path `reference`.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: a metric is unknown, or there are too few images for it.
    """
    extractor = open_extractor(metrics, inception, features, preprocessing)
    num_images = len(held_out.captions)
    settings = Settings(
        kid_subset_size=kid_subset_size or min(1000, num_images // 2), seed=RESAMPLING_SEED
    )
    named = reference or held_out.name
    if reference is None:
        fixed = None
        digest = set_digest(pixel_digest(np.asarray(image)) for image in held_out.images)
    else:
        decoding = "converted" if features is None else "upright"
        if is_statistics(reference):
            fixed = load_reference(reference)
        else:
            fixed = open_images(reference, decoding)
        statistics = fixed if isinstance(fixed, Reference) else None
        images = reference_images(fixed, metrics_of_images(metrics, extractor, statistics))
        digest = reference_digest(
            statistics,
            None
            if images is None
            else set_digest(pixel_digest(np.asarray(image)) for image in images),
        )
    how = {
        "manifest_sha256": held_out.manifest.sha256,
        "sampling": sampling,
        "decoding": fixed.decoding if isinstance(fixed, ImageFolder) else None,
    }
    protocol = set_protocol(extractor, settings, num_images, named, digest, **how)

    def measure(images, rows):
        further = None
        if len(rows) == num_images and fixed is not None:
            further = held_out.images
        elif len(rows) == num_images:
            further = held_out.further_images(data_dir, settings.seed)
        reals = Images(held_out.source, rows) if fixed is None else fixed
        row, by_image = compare_samples(
            images,
            reals,
            extractor,
            metrics,
            settings,
            reference=named,
            floor_images=further,
            **how,
        )
        found = {name: row[name] for name in ("metrics", "floor", "fake_sha256") if name in row}
        return found, by_image

    return Measurement(protocol, result_names(metrics, extractor.name), measure)


def memorization_measurement(
    run: Run, held_out: HeldOut, sampling: dict[str, Any], picture: Path
) -> Measurement:
    """How near the first seed's images are to training images, beside how near the real ones are.

    The floor is the real images' figure. The most suspicious images are drawn into `picture`,
    each beside its nearest training images.
    """
    protocol = Protocol(
        features="pixels",
        features_sha256=None,
        preprocessing=asdict(CenterCropResize(run.data["image_size"])),
        num_images=len(held_out.captions),
        reference=None,
        reference_sha256=None,
        settings={"train": {"source": run.data["source"], **source_arguments(run.data, "train")}},
        manifest_sha256=held_out.manifest.sha256,
        sampling=sampling,
    ).as_dict()

    def measure(images, rows):
        drawn_images = np.stack(images[0])
        side = drawn_images.shape[1]
        real = np.stack([center_crop_resize(held_out.images[i], side) for i in rows])
        texts = [held_out.captions[i] for i in rows]
        report, drawn = measure_memorization(drawn_images, texts, real, run.open_source("train"))
        if len(rows) == len(held_out.captions):
            drawn.save(picture)
        medians = {name: found["median"] for name, found in report["distance"].items()}
        metrics = {
            "data_copying": {"value": report["data_copying"]},
            "copies": {
                "value": report["copies"] / len(rows),
                "interval": wilson(report["copies"], len(rows)),
            },
            "nearest_train_image": {
                "value": medians["generated"],
                "interval": report["interval_of_median"],
            },
        }
        floor = {"num_images": len(rows), "nearest_train_image": medians["held out"]}
        return {"metrics": metrics, "floor": floor, "memorization": report}, {}

    return Measurement(protocol, ("copies",), measure)


def _scored(scored: Scored, real: Scored, n: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row's entries; the floor of a score is what the real images get."""
    floor = {name: entry["value"] for name, entry in real.metrics.items()}
    return {"metrics": scored.metrics, "floor": {"num_images": n, **floor}}, scored.by_caption
