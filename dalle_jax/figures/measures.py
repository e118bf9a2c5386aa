"""Measurements of images by figures, as rows that claims can compare."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from dalle_jax.figures.rows import BY_CAPTION, LEFT_OUT
from dalle_jax.metrics import oracle
from dalle_jax.metrics.captioned import oracle_accuracy
from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.frechet import Factored, factor_features, jackknife
from dalle_jax.metrics.intervals import Z_95, bootstrap
from dalle_jax.metrics.jackknife import jackknife_error, jackknife_groups

SEED_OF_GROUPS = 2020  # that `dalle-jax evaluate` has


def caption_row(
    captions: Sequence[str], images: Sequence[np.ndarray], **where: Any
) -> dict[str, Any]:
    """The share of captions that the oracle finds fully correct, with each one's score."""
    scored, metric = oracle_accuracy(captions, [images]), "oracle/caption"
    low, high = scored.metrics[metric]["interval"]
    found = {"value": scored.metrics[metric]["value"], "low": low, "high": high}
    by_caption = {"num_images": len(captions), BY_CAPTION: scored.by_caption[metric]}
    return {"metric": metric, **where, **found, **by_caption}


def score_row(metric: str, scores: np.ndarray, **where: Any) -> dict[str, Any]:
    """The mean of a score of each image [N], with each one's."""
    low, high = bootstrap(scores)
    found = {"value": float(np.mean(scores)), "low": low, "high": high}
    by_caption = {"num_images": len(scores), BY_CAPTION: np.reshape(scores, (-1, 1))}
    return {"metric": metric, **where, **found, **by_caption}


def single_rows(
    metric: str, values: Sequence[float], of: str, **where: Any
) -> list[dict[str, Any]]:
    """A row for each of several `of` (images, captions), by number."""
    head = {"metric": metric, **where}
    return [{**head, of: i, "value": float(value)} for i, value in enumerate(values)]


def shown_rows(captions: Sequence[str], values: Sequence[float], **where: Any) -> list[dict]:
    """Rows with the caption and the score of each picture that a figure shows."""
    head = {"metric": "shown", **where}
    return [{**head, "caption": c, "value": float(value)} for c, value in zip(captions, values)]


def features_of(images: Sequence[np.ndarray], extractor: FeatureExtractor) -> np.ndarray:
    """The features [N, length] that distances are between."""
    tap = extractor.tap("fid")
    return np.concatenate([batch.features[tap] for batch in extract(images, extractor)])


def distance_row(
    images: Sequence[np.ndarray], reals: Factored, extractor: FeatureExtractor, **where: Any
) -> dict[str, Any]:
    """The Fréchet distance from real images, and the ones with a tenth of the images left out."""
    found = jackknife(features_of(images, extractor), reals, seed=SEED_OF_GROUPS)
    low, high = found.interval
    head = {"metric": f"FD[{extractor.name}]", **where, "value": found.value}
    return {
        **head,
        **{"low": low, "high": high, "num_images": len(images)},
        LEFT_OUT: found.left_out.tolist(),
    }


def judged_rows(
    captions: Sequence[str],
    images: Sequence[np.ndarray],
    reals: Factored,
    extractor: FeatureExtractor,
    **where: Any,
) -> list[dict[str, Any]]:
    """The rows of `caption_row` and `distance_row`."""
    return [
        caption_row(captions, images, **where),
        distance_row(images, reals, extractor, **where),
    ]


def entropy_row(values: Sequence[Hashable], metric: str, **where: Any) -> dict[str, Any]:
    """−Σ p log₂ p, in bits, of one value for each image, and the ones with a tenth left out.

    It is biased downwards, by about the same for two models with equally many images.
    """
    _, codes = np.unique([repr(value) for value in values], return_inverse=True)
    groups = jackknife_groups(len(codes), seed=SEED_OF_GROUPS)
    value = _entropy(codes)
    left_out = np.array([_entropy(codes[groups != group]) for group in range(groups.max() + 1)])
    half = Z_95 * jackknife_error(left_out)
    head = {"metric": metric, **where, "value": value, "low": value - half, "high": value + half}
    return {**head, "num_images": len(codes), LEFT_OUT: left_out.tolist()}


def _entropy(codes: np.ndarray) -> float:
    shares = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(shares * np.log2(shares)).sum())


def factored(images: Sequence[np.ndarray], extractor: FeatureExtractor) -> Factored:
    """Real images as distances refer to them."""
    return factor_features(features_of(images, extractor))


def seen(image: np.ndarray) -> oracle.DetectedObject | None:
    """The one object with a shape that an image shows; None if it shows none, or several."""
    objects = oracle.read_scene(image).objects
    return objects[0] if len(objects) == 1 and objects[0].shape is not None else None
