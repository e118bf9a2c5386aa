"""Measurements of images against their captions: by the oracle, and by a trained CLIP."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.evaluation.captions import HeldOut, Images
from dalle_jax.evaluation.measurements import RESAMPLING_SEED, Measurement
from dalle_jax.evaluation.networks import open_features
from dalle_jax.metrics import oracle, scene_reading
from dalle_jax.metrics.captioned import (
    R_PRECISION_CANDIDATES,
    Scored,
    clip_scores,
    oracle_accuracy,
)
from dalle_jax.metrics.clip_score import CLIP_SCORES
from dalle_jax.metrics.pooled import pooled_features
from dalle_jax.metrics.protocol import Protocol


def oracle_measurement(held_out: HeldOut, sampling: dict[str, Any]) -> Measurement:
    """The correct statements of captions of captioned_shapes.

    Raises:
        ValueError: a caption is outside the grammar that the oracle reads.
    """
    for caption in held_out.captions:
        oracle.parse(caption)
    constants = ("MIN_AREA", "MIN_OVERLAP", "MAX_COLOR_DISTANCE", "SIZE_EDGE")
    settings = {name.lower(): getattr(scene_reading, name) for name in constants}

    def measure(images, rows):
        captions = [held_out.captions[i] for i in rows]
        real = oracle_accuracy(captions, [[held_out.images[i] for i in rows]])
        return _entries(oracle_accuracy(captions, images), real, len(rows))

    protocol = caption_protocol(held_out, sampling, "oracle", settings)
    return Measurement(protocol, ("oracle/caption",), measure)


def clip_measurement(run: str | Path, held_out: HeldOut, sampling: dict[str, Any]) -> Measurement:
    """Cosines of images and captions in the space of a trained CLIP.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: the run is not a CLIP.
    """
    network = open_features(run)
    if network.embed_captions is None:
        raise ValueError(f"{run} is no CLIP: it has no features of captions")
    extractor, name = network.extractor, network.extractor.name
    settings = {
        "caption_prefix": "",
        "r_precision_candidates": R_PRECISION_CANDIDATES,
        "seed": RESAMPLING_SEED,
    }

    def measure(images, rows):
        texts = [held_out.captions[i] for i in rows]
        captions = network.embed_captions(texts)
        generated = np.stack([pooled_features(of_seed, extractor) for of_seed in images])
        real = pooled_features(Images(held_out.source, rows), extractor)[None]
        scored, floor = (
            clip_scores(name, captions, embeddings, texts, RESAMPLING_SEED)
            for embeddings in (generated, real)
        )
        return _entries(scored, floor, len(rows))

    protocol = caption_protocol(
        held_out, sampling, name, settings, extractor.sha256, asdict(extractor.preprocess)
    )
    return Measurement(protocol, tuple(f"{variant}[{name}]" for variant in CLIP_SCORES), measure)


def caption_protocol(
    held_out: HeldOut,
    sampling: dict[str, Any],
    features: str,
    settings: dict[str, Any],
    features_sha256: str | None = None,
    preprocessing: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The protocol of a measurement without a reference set."""
    return Protocol(
        features=features,
        features_sha256=features_sha256,
        preprocessing=preprocessing or {},
        num_images=len(held_out.captions),
        reference=None,
        reference_sha256=None,
        settings=settings,
        manifest_sha256=held_out.manifest.sha256,
        sampling=sampling,
    ).as_dict()


def _entries(scored: Scored, real: Scored, n: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A row's entries; the floor of a score is that of the real images."""
    floor = {name: entry["value"] for name, entry in real.metrics.items()}
    return {"metrics": scored.metrics, "floor": {"num_images": n, **floor}}, scored.by_caption
