"""An image embedding as a short row of integers and back, for the autoregressive prior.

unCLIP (Ramesh et al. 2022, §2.2): PCA, its dimensions in falling order of variance, each quantised
into equal buckets. How well an image fits its caption is an integer of the same kind: the bucket of
the dot product of their embeddings.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

NUM_QUANTILES = 1025


class Codec(NamedTuple):
    """What `fit` measures on the training embeddings; float32.

    The buckets of dimension k cut [low_k, high_k], all that training embeddings take up, into equal
    parts; what lies outside goes to the bucket at the end.
    """

    mean: Array  # [D]
    components: Array  # [D, K], orthonormal columns, by falling variance
    low: Array  # [K]
    high: Array  # [K]
    dot_quantiles: Array  # [Q], of image · text over the training pairs, from least to greatest


def shapes(embedding_width: int, num_dimensions: int) -> Codec:
    """The shapes of a codec's arrays."""
    d, k = embedding_width, num_dimensions
    return Codec((d,), (d, k), (k,), (k,), (NUM_QUANTILES,))


def fit(image: np.ndarray, text: np.ndarray, num_dimensions: int) -> Codec:
    """The codec of N pairs of embeddings [N, D], worked out in float64 on the host.

    Raises:
        ValueError: there are too few pairs, or fewer dimensions than are to be kept.
    """
    if image.shape != text.shape or not num_dimensions < len(image):
        raise ValueError(
            f"a PCA of {num_dimensions} dimensions needs more pairs of embeddings than that; got "
            f"images {list(image.shape)} and texts {list(text.shape)}"
        )
    if num_dimensions > image.shape[1]:
        raise ValueError(
            f"embeddings of {image.shape[1]} numbers have no {num_dimensions} principal "
            "dimensions; lower prior.autoregressive.num_dimensions"
        )
    image, text = image.astype(np.float64), text.astype(np.float64)
    mean = image.mean(0)
    _, vectors = np.linalg.eigh(np.cov(image.T))  # by rising eigenvalue
    components = vectors[:, ::-1][:, :num_dimensions]
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    largest = np.abs(components).argmax(0)
    components = components * np.sign(components[largest, np.arange(num_dimensions)])
    coordinates = (image - mean) @ components
    dots = np.quantile((image * text).sum(1), np.linspace(0, 1, NUM_QUANTILES))
    parts = (mean, components, coordinates.min(0), coordinates.max(0), dots)
    return Codec(*(np.asarray(part, np.float32) for part in parts))


def encode(codec: Codec, embedding: Array, num_buckets: int) -> Array:
    """Embeddings [B, D] → buckets int32 [B, K], each 0 … num_buckets − 1."""
    coordinates = jnp.matmul(embedding - codec.mean[None], codec.components)
    return _bucket(coordinates, codec.low[None], codec.high[None], num_buckets)


def decode(codec: Codec, buckets: Array, num_buckets: int) -> Array:
    """Buckets int32 [B, K] → the embeddings [B, D] at the middle of their buckets."""
    width = (codec.high - codec.low) / num_buckets
    coordinates = codec.low[None] + (buckets + 0.5) * width[None]
    return codec.mean[None] + jnp.matmul(coordinates, codec.components.T)


def encode_dot(codec: Codec, dot: Array, num_buckets: int) -> Array:
    """Dot products [B] of image and text embedding → buckets int32 [B]."""
    low, high = codec.dot_quantiles[0], codec.dot_quantiles[-1]
    return _bucket(dot, low, high, num_buckets)


def dot_at(codec: Codec, u: Array) -> Array:
    """The dot products [B] below which a share u [B] of the training pairs lies."""
    return jnp.interp(u, jnp.linspace(0.0, 1.0, NUM_QUANTILES), codec.dot_quantiles)


def _bucket(x: Array, low: Array, high: Array, num_buckets: int) -> Array:
    # A dimension of no extent has one value, in bucket 0.
    place = (x - low) / jnp.maximum(high - low, 1e-12) * num_buckets
    return jnp.clip(jnp.floor(place), 0, num_buckets - 1).astype(jnp.int32)
