"""Quantization of image embeddings to short sequences of integers, for the autoregressive prior.

unCLIP (Ramesh et al. 2022, §2.2): the principal components in decreasing order of variance, each
quantized into equal buckets. The agreement of an image and its caption, the dot product of their
embeddings, is quantized in the same way.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

NUM_QUANTILES = 1025


class Codec(NamedTuple):
    """The statistics of the training embeddings that `fit` measures; float32.

    The buckets of dimension k divide [low_k, high_k], the range of the training embeddings, into
    equal parts. Values outside go to the nearest bucket.
    """

    mean: Array  # [D]
    components: Array  # [D, K], orthonormal columns in decreasing order of variance
    low: Array  # [K]
    high: Array  # [K]
    dot_quantiles: Array  # [Q], increasing quantiles of image · text over the training pairs


def shapes(embedding_width: int, num_dimensions: int) -> Codec:
    """A codec of jax.ShapeDtypeStruct."""
    d, k = embedding_width, num_dimensions
    return Codec((d,), (d, k), (k,), (k,), (NUM_QUANTILES,))


def fit(image: np.ndarray, text: np.ndarray, num_dimensions: int) -> Codec:
    """The codec of N pairs of embeddings [N, D], computed in float64 on the host.

    Raises:
        ValueError: there are too few pairs, or D < num_dimensions.
    """
    if image.shape != text.shape or not num_dimensions < len(image):
        raise ValueError(
            f"a PCA of {num_dimensions} dimensions needs more than {num_dimensions} pairs; got "
            f"images {list(image.shape)} and texts {list(text.shape)}"
        )
    if num_dimensions > image.shape[1]:
        raise ValueError(
            f"embeddings of width {image.shape[1]} do not have {num_dimensions} principal "
            "components; lower prior.autoregressive.num_dimensions"
        )
    image, text = image.astype(np.float64), text.astype(np.float64)
    mean = image.mean(0)
    _, vectors = np.linalg.eigh(np.cov(image.T))  # by rising eigenvalue
    components = vectors[:, ::-1][:, :num_dimensions]
    # An eigenvector's sign is arbitrary: make its largest entry positive.
    largest = np.abs(components).argmax(0)
    components = components * np.sign(components[largest, np.arange(num_dimensions)])
    coordinates = (image - mean) @ components
    dots = np.quantile((image * text).sum(1), np.linspace(0, 1, NUM_QUANTILES))
    parts = (mean, components, coordinates.min(0), coordinates.max(0), dots)
    return Codec(*(np.asarray(part, np.float32) for part in parts))


def encode(codec: Codec, embedding: Array, num_buckets: int) -> Array:
    """Quantize embeddings [B, D] to buckets int32 [B, K], each 0 … num_buckets − 1."""
    coordinates = jnp.matmul(embedding - codec.mean[None], codec.components)
    return _bucket(coordinates, codec.low[None], codec.high[None], num_buckets)


def decode(codec: Codec, buckets: Array, num_buckets: int) -> Array:
    """The embeddings [B, D] at the centres of the buckets int32 [B, K]."""
    width = (codec.high - codec.low) / num_buckets
    coordinates = codec.low[None] + (buckets + 0.5) * width[None]
    return codec.mean[None] + jnp.matmul(coordinates, codec.components.T)


def encode_dot(codec: Codec, dot: Array, num_buckets: int) -> Array:
    """Quantize dot products [B] of image and text embeddings to buckets int32 [B]."""
    low, high = codec.dot_quantiles[0], codec.dot_quantiles[-1]
    return _bucket(dot, low, high, num_buckets)


def dot_at(codec: Codec, u: Array) -> Array:
    """The quantiles u [B] of the dot products of the training pairs: [B]."""
    return jnp.interp(u, jnp.linspace(0.0, 1.0, NUM_QUANTILES), codec.dot_quantiles)


def _bucket(x: Array, low: Array, high: Array, num_buckets: int) -> Array:
    # A dimension without extent has one value, in bucket 0.
    position = (x - low) / jnp.maximum(high - low, 1e-12) * num_buckets
    return jnp.clip(jnp.floor(position), 0, num_buckets - 1).astype(jnp.int32)
