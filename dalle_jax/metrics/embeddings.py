"""Cosines between a prior's embeddings and the true ones, and the baseline without a prior."""

from typing import NamedTuple

import numpy as np

from dalle_jax.metrics.intervals import bootstrap
from dalle_jax.metrics.kernel import normalized


class Mean(NamedTuple):
    """A mean over captions and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def prior_cosines(predicted: np.ndarray, image: np.ndarray, text: np.ndarray) -> dict[str, Mean]:
    """Mean cosines of N predicted embeddings [N, D] with the true embeddings.

    cosine_image     predicted · image, with the embedding of the captioned image
    cosine_text      predicted · text, with the embedding of the caption
    cosine_baseline  text · image, the value if the caption's embedding were the prediction
    gain             cosine_image − cosine_baseline, pair by pair

    Raises:
        ValueError: the embeddings are not of the same captions.
    """
    if predicted.ndim != 2 or not predicted.shape == image.shape == text.shape:
        raise ValueError(
            f"predicted {list(predicted.shape)}, image {list(image.shape)} and text "
            f"{list(text.shape)} embeddings are not of the same captions"
        )
    predicted, image, text = normalized(predicted), normalized(image), normalized(text)
    values = {
        "cosine_image": (predicted * image).sum(1),
        "cosine_text": (predicted * text).sum(1),
        "cosine_baseline": (text * image).sum(1),
    }
    values["gain"] = values["cosine_image"] - values["cosine_baseline"]
    return {name: Mean(float(v.mean()), *bootstrap(v)) for name, v in values.items()}
