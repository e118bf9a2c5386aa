"""Zero-shot retrieval: does an image find its caption among others, and a caption its image?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dalle_jax.metrics.intervals import wilson
from dalle_jax.metrics.kernel import normalized

RANKS = (1, 5, 10)


class Recall(NamedTuple):
    """A share of queries that were answered right."""

    found: int
    queries: int
    candidates: int  # among which each query searched

    @property
    def share(self) -> float:
        """found / queries."""
        return self.found / self.queries

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 % of the share."""
        return wilson(self.found, self.queries)


def retrieval(
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    captions: Sequence[str],
    ranks: Sequence[int] = RANKS,
) -> dict[str, Recall]:
    """`image_to_text_recall_at_1` … `text_to_image_recall_at_10`, by cosine.

    Embeddings [N, D] of N images and of their captions. Equal captions are one: an image searches
    the distinct captions for its own text, a distinct caption searches the N images for any that
    it describes. Recall at k is the share of queries with an answer among the k nearest; a
    candidate exactly as near as the answer counts as nearer.

    Raises:
        ValueError: the embeddings and captions are not N pairs, or equal captions have embeddings
            that differ.
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
            f"first {captions[int(np.argmax(differing))]!r}; text_embeddings are not of captions"
        )
    cosine = normalized(image_embeddings) @ texts[first].T  # [N, distinct captions]
    own = text[:, None] == np.arange(len(first))[None]
    ahead = {"image_to_text": _num_ahead(cosine, own), "text_to_image": _num_ahead(cosine.T, own.T)}
    return {
        f"{way}_recall_at_{k}": Recall(
            int((num < k).sum()), len(num), shape[0] if way == "text_to_image" else len(first)
        )
        for way, num in ahead.items()
        for k in ranks
    }


def _num_ahead(cosine: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many wrong candidates are at least as near as the nearest right one, a row of [Q, C]."""
    best = np.where(right, cosine, -np.inf).max(1, keepdims=True)
    return ((cosine >= best) & ~right).sum(1)
