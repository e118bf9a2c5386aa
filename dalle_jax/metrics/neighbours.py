"""Nearest training images of generated ones, to detect a model that copies its training data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from einops import rearrange

from dalle_jax.data.images import center_crop_resize
from dalle_jax.data.source import Source
from dalle_jax.metrics.kernel import normalized

BLOCK = 2048  # training images in memory
QUERY_BLOCK = 512  # rows of the distance matrix in memory


@dataclass(frozen=True)
class Neighbours:
    """The k nearest neighbours of each query, nearest first.

    Attributes:
        indices: int64 [N, k], of the training set.
        distances: float64 [N, k].
    """

    indices: np.ndarray
    distances: np.ndarray


def feature_neighbours(
    features: np.ndarray, train: np.ndarray, k: int = 1, *, cosine: bool = False
) -> Neighbours:
    """The k nearest neighbours in train [M, D] of each of features [N, D].

    The distance is Euclidean, or 1 − cosine.

    Raises:
        ValueError: the features have different lengths, k is not in 1 … M, or `cosine` is set and a
            feature is zero or not finite.
    """
    if features.ndim != 2 or train.ndim != 2 or features.shape[1] != train.shape[1]:
        raise ValueError(
            f"features {list(features.shape)} and {list(train.shape)} can't be compared; give "
            "[N, D] and [M, D]"
        )
    if cosine:
        features = normalized(features)
    blocks = (train[start : start + BLOCK] for start in range(0, len(train), BLOCK))
    nearest = _search(features, map(normalized, blocks) if cosine else blocks, len(train), k)
    # For vectors of length 1, |x − y|² = 2 − 2 cos.
    return Neighbours(nearest.indices, nearest.distances**2 / 2) if cosine else nearest


def pixel_neighbours(images: np.ndarray, train: Source, k: int = 1) -> Neighbours:
    """The k nearest training images of each of images uint8 [N, S, S, 3].

    The distance is the root of the mean squared difference of pixel values, 0 to 255. It is
    computed exactly, so that a copy has the distance 0. Training images are center-cropped, resized
    to S and read once, block by block.

    Raises:
        ValueError: k is not in 1 … M, or the images are not square.
    """
    if images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images {list(images.shape)} must be uint8 [N, S, S, 3]")
    side = images.shape[1]
    blocks = (
        np.stack([center_crop_resize(train[i]["image"], side) for i in indices])
        for start in range(0, len(train), BLOCK)
        if (indices := range(start, min(start + BLOCK, len(train))))
    )
    flat = (rearrange(block, "b h w c -> b (h w c)") for block in blocks)
    nearest = _search(rearrange(images, "n h w c -> n (h w c)"), flat, len(train), k)
    return Neighbours(nearest.indices, nearest.distances / np.sqrt(3 * side**2))


def data_copying(generated: np.ndarray, held_out: np.ndarray) -> float:
    """The z score of the data-copying test of Meehan et al. (2020, arXiv 2004.05675, §3).

    U is the Mann-Whitney statistic of the distances [N] and [M] to the nearest training image: the
    number of pairs in which the generated image is farther away than the held-out one. The score is
    (U − N·M/2) / √(N·M·(N + M + 1)/12). Far below 0 the model copies training images; far above 0
    its images differ from the data.

    Raises:
        ValueError: the distances of either are empty.
    """
    n, m = len(generated), len(held_out)
    if not n or not m:
        raise ValueError("distances of generated and of held-out images are both needed")
    ordered = np.sort(held_out)
    below = np.searchsorted(ordered, generated, "left")
    ties = np.searchsorted(ordered, generated, "right") - below
    u = below.sum() + ties.sum() / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def picture_cells(
    images: np.ndarray,
    captions: Sequence[str],
    neighbours: Neighbours,
    train: Source,
    shown: int = 12,
) -> tuple[np.ndarray, list[str], int]:
    """The images and labels of a grid of neighbours, and its number of columns.

    A row is a generated image with its caption, followed by its nearest training images with their
    distance, index and caption. Generated images nearest to a training image come first.

    Args:
        images: generated images, uint8 [N, S, S, 3].
        captions: of the generated images.
        neighbours: of the generated images in the training set.
        train: the training set.
        shown: number of rows.

    Returns:
        uint8 [rows · (k + 1), S, S, 3], as many labels, and k + 1.
    """
    cells, labels = [], []
    for row in np.argsort(neighbours.distances[:, 0], kind="stable")[:shown]:
        cells.append(images[row])
        labels.append(f"generated: {captions[row]}")
        for index, distance in zip(neighbours.indices[row], neighbours.distances[row]):
            item = train[int(index)]
            cells.append(center_crop_resize(item["image"], images.shape[1]))
            labels.append(f"{distance:.3g} · train {index}: {item['caption']}")
    return np.stack(cells), labels, 1 + neighbours.indices.shape[1]


def _search(queries: np.ndarray, blocks: Iterable[np.ndarray], size: int, k: int) -> Neighbours:
    """The k nearest neighbours of queries [N, D] among `size` vectors in blocks [b, D]."""
    if not 1 <= k <= size:
        raise ValueError(f"k = {k} is not in 1 … {size}, the number of available neighbours")
    n = len(queries)
    # For integers below 2⁵³, such as those from pixels, sums and products are exact in float64.
    queries = np.asarray(queries, np.float64)
    norms = (queries**2).sum(1)
    indices = np.zeros((n, 0), np.int64)
    squared = np.zeros((n, 0))
    start = 0
    for block in blocks:
        block = np.asarray(block, np.float64)
        block_norms = (block**2).sum(1)
        nearest = [
            _nearest(
                norms[rows, None] + block_norms[None] - 2 * queries[rows] @ block.T,
                min(k, len(block)),
            )
            for rows in _slices(n)
        ]
        indices = np.concatenate([indices, start + np.concatenate([i for i, _ in nearest])], 1)
        squared = np.concatenate([squared, np.concatenate([s for _, s in nearest])], 1)
        start += len(block)
        order = np.lexsort((indices, squared))[:, :k]
        indices = np.take_along_axis(indices, order, 1)
        squared = np.take_along_axis(squared, order, 1)
    return Neighbours(indices, np.sqrt(squared.clip(min=0)))


def _nearest(squared: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of the k smallest of each row, in any order."""
    columns = squared.argmin(1)[:, None] if k == 1 else np.argpartition(squared, k - 1, 1)[:, :k]
    return columns, np.take_along_axis(squared, columns, 1)


def _slices(n: int) -> list[slice]:
    return [slice(start, min(start + QUERY_BLOCK, n)) for start in range(0, n, QUERY_BLOCK)]
