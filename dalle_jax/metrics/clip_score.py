"""How well images fit their captions, from CLIP's embeddings of both."""

from collections.abc import Callable

import numpy as np

from dalle_jax.metrics.kernel import normalized

# The published scores, by the cosine between an image and its caption. They differ in CLIP and in
# prompt as well: Hessel et al. 2021 (arXiv 2104.08718) put "A photo depicts" before the caption and
# take ViT-B/32; DALL-E 3 takes ViT-B/32, GLIDE ViT-B/16, both without a prefix. Here captions are
# embedded as they are.
CLIP_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clip_cosine": lambda cosine: cosine,
    "clip_score_x100": lambda cosine: 100 * cosine,
    "clipscore_hessel": lambda cosine: 2.5 * np.maximum(cosine, 0),
}


def clip_score(images: np.ndarray, captions: np.ndarray, variant: str) -> np.ndarray:
    """The score [N] of each image's embedding [N, D] with its own caption's [N, D], float64.

    Raises:
        ValueError: there is no such variant, or the embeddings are not pairs.
    """
    if variant not in CLIP_SCORES:
        raise ValueError(f"there is no CLIP score {variant!r}; known are {', '.join(CLIP_SCORES)}")
    _check_pairs(images, captions)
    return CLIP_SCORES[variant]((normalized(images) * normalized(captions)).sum(1))


def r_precision(
    images: np.ndarray,
    captions: np.ndarray,
    texts: list[str],
    num_candidates: int = 100,
    top: int = 1,
    seed: int = 0,
) -> np.ndarray:
    """Whether [N] each image finds its own caption among others'.

    Each image [N, D] is held against its own caption [N, D] and `num_candidates` − 1 drawn from
    those with another text, without replacement; its own must be among the `top` nearest. Ties
    count against it. The mean is the R-precision (Xu et al. 2018, arXiv 1711.10485, §4.1).

    Raises:
        ValueError: the embeddings are no pairs, or there are too few captions to draw from.
    """
    _check_pairs(images, captions)
    images, captions = normalized(images), normalized(captions)
    text = np.unique(np.asarray(texts), return_inverse=True)[1]
    # One of each text, so that no mismatched caption is drawn twice.
    first_of_text = np.unique(text, return_index=True)[1]
    if len(first_of_text) < num_candidates:
        raise ValueError(
            f"R-precision among {num_candidates} captions needs that many different ones; "
            f"there are {len(first_of_text)}"
        )
    rng = np.random.default_rng(seed)
    found = np.empty(len(images), bool)
    for i, image in enumerate(images):
        drawn = rng.choice(len(first_of_text), num_candidates, replace=False)
        others = first_of_text[drawn[drawn != text[i]][: num_candidates - 1]]
        ahead = (captions[others] @ image >= captions[i] @ image).sum()
        found[i] = ahead < top
    return found


def _check_pairs(images: np.ndarray, captions: np.ndarray) -> None:
    if images.ndim != 2 or images.shape != captions.shape:
        raise ValueError(
            f"embeddings {list(images.shape)} and {list(captions.shape)} are not pairs of an image "
            "and its caption"
        )
