"""Agreement of images and captions, from the CLIP embeddings of both."""

from collections.abc import Callable

import numpy as np

from dalle_jax.metrics.kernel import normalized

# The published scores as functions of the cosine between an image and its caption. They also differ
# in the CLIP and the prompt: Hessel et al. 2021 (arXiv 2104.08718) use ViT-B/32 and put "A photo
# depicts" before the caption; DALL-E 3 uses ViT-B/32 and GLIDE ViT-B/16, both without a prefix.
# Here captions are embedded without a prefix.
CLIP_SCORES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clip_cosine": lambda cosine: cosine,
    "clip_score_x100": lambda cosine: 100 * cosine,
    "clipscore_hessel": lambda cosine: 2.5 * np.maximum(cosine, 0),
}


def clip_score(images: np.ndarray, captions: np.ndarray, variant: str) -> np.ndarray:
    """The score [N], float64, of image embeddings [N, D] and their captions' embeddings [N, D].

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
    """Whether each image retrieves its caption among `num_candidates` captions: bool [N].

    The candidates of an image [N, D] are its caption [N, D] and `num_candidates` − 1 captions
    sampled without replacement from those with another text. Its caption must be among the `top`
    nearest; ties count as misses. The mean is the R-precision (Xu et al. 2018, arXiv 1711.10485,
    §4.1).

    Raises:
        ValueError: the embeddings are not pairs, or there are too few different captions.
    """
    _check_pairs(images, captions)
    images, captions = normalized(images), normalized(captions)
    text = np.unique(np.asarray(texts), return_inverse=True)[1]
    # One index per distinct text, so that no candidate occurs twice.
    distinct = np.unique(text, return_index=True)[1]
    if len(distinct) < num_candidates:
        raise ValueError(
            f"R-precision among {num_candidates} captions needs that many different captions; "
            f"there are {len(distinct)}"
        )
    rng = np.random.default_rng(seed)
    hits = np.empty(len(images), bool)
    for i, image in enumerate(images):
        candidates = rng.choice(len(distinct), num_candidates, replace=False)
        others = distinct[candidates[candidates != text[i]][: num_candidates - 1]]
        ahead = (captions[others] @ image >= captions[i] @ image).sum()
        hits[i] = ahead < top
    return hits


def _check_pairs(images: np.ndarray, captions: np.ndarray) -> None:
    if images.ndim != 2 or images.shape != captions.shape:
        raise ValueError(
            f"embeddings {list(images.shape)} and {list(captions.shape)} are not pairs of an image "
            "and its caption"
        )
