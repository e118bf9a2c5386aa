"""Zero-shot retrieval of captions by images and of images by captions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dalle_jax.metrics.intervals import wilson
from dalle_jax.metrics.kernel import normalized

RANKS = (1, 5, 10)


class Recall(NamedTuple):
    """The number of queries with a correct result."""

    found: int
    queries: int
    candidates: int  # of each query

    @property
    def share(self) -> float:
        """The share of correct queries."""
        return self.found / self.queries

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.found, self.queries)


def retrieval(
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    captions: Sequence[str],
    ranks: Sequence[int] = RANKS,
) -> dict[str, Recall]:
    """`image_to_text_recall_at_1` … `text_to_image_recall_at_10`, by cosine.

    Embeddings are [N, D], of N images and of their captions. Equal captions count once: an image
    searches the distinct captions for its text, and a distinct caption searches the N images for
    any of its images. Recall at k is the share of queries with a correct candidate among the k
    nearest; wrong candidates at the same distance count as nearer.

    Raises:
        ValueError: the embeddings and captions are not N pairs, or equal captions have different
            embeddings.
    """
    shape = image_embeddings.shape
    if len(shape) != 2 or shape != text_embeddings.shape or len(captions) != shape[0]:
        raise ValueError(
            f"retrieval needs pairs; got images {list(shape)}, texts "
            f"{list(text_embeddings.shape)} and {len(captions)} captions"
        )
    _, first, text = np.unique(np.asarray(captions), return_index=True, return_inverse=True)
    texts = normalized(text_embeddings)
    differing = np.abs(texts - texts[first][text]).max(1) > 1e-3
    if differing.any():
        raise ValueError(
            f"{int(differing.sum())} captions have another embedding than an equal caption, the "
            f"first {captions[int(np.argmax(differing))]!r}; check that text_embeddings belong to "
            "captions"
        )
    cosine = normalized(image_embeddings) @ texts[first].T  # [N, distinct captions]
    correct = text[:, None] == np.arange(len(first))[None]
    ahead = {
        "image_to_text": _num_ahead(cosine, correct),
        "text_to_image": _num_ahead(cosine.T, correct.T),
    }
    return {
        f"{direction}_recall_at_{k}": Recall(
            int((num < k).sum()), len(num), shape[0] if direction == "text_to_image" else len(first)
        )
        for direction, num in ahead.items()
        for k in ranks
    }


def _num_ahead(cosine: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The number of wrong candidates at least as near as the nearest correct one: [Q, C] → [Q]."""
    best = np.where(correct, cosine, -np.inf).max(1, keepdims=True)
    return ((cosine >= best) & ~correct).sum(1)
