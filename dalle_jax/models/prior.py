"""The two priors of unCLIP: networks that say which image embedding a caption calls for.

Ramesh et al. 2022 (2204.06125, §2.2). Both read the caption by a causal transformer over its
encoded tokens and its embedding. The diffusion prior goes on in the same sequence; the
autoregressive one hands what was read to a second transformer.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import repeat
from jax import Array

from dalle_jax.nn.embeddings import TimestepEmbedding, token_mask
from dalle_jax.nn.transformer import Caches, Transformer, empty_caches


class Text(NamedTuple):
    """An encoded caption. A dropped one has a mask without a True: nothing else of it is read."""

    embedding: Array  # [B, D], of length 1
    features: Array  # [B, L, W]
    mask: Array  # bool [B, L], True where there is a token

    @classmethod
    def of(cls, embedding: Array, features: Array, tokens: Array) -> "Text":
        """What a CLIP made of tokens [B, L], and where of them there is no padding."""
        return cls(embedding, features, token_mask(tokens))

    def dropped(self, which: Array) -> "Text":
        """The captions with those at which = True [B] dropped."""
        return self._replace(mask=self.mask & ~which[:, None])

    @property
    def present(self) -> Array:
        """Which captions are there [B]: each that is has its end-of-text token at least."""
        return jnp.any(self.mask, axis=1)


class TextSequence(nn.Module):
    """[features; embedding], with a learned vector for the embedding where there is no caption.

    `embedding_scale` brings embeddings, of length 1, to numbers that a network is used to.
    `max_length` is that of captions, in tokens.
    """

    width: int
    max_length: int
    embedding_scale: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, text: Text) -> tuple[Array, Array]:
        """→ [B, L + 1, width], and bool [B, L + 1], True where there is something to read."""
        init = nn.initializers.normal(0.02)
        position = self.param("position", init, (self.max_length, self.width)).astype(self.dtype)
        features = nn.Dense(self.width, dtype=self.dtype, name="features")(text.features)
        features = features + position[None, : features.shape[1]]
        absent = self.param("no_text", init, (self.width,)).astype(self.dtype)
        embedding = nn.Dense(self.width, dtype=self.dtype, name="text_embedding")(
            self.embedding_scale * text.embedding
        )
        embedding = jnp.where(text.present[:, None], embedding, absent[None])
        sequence = jnp.concatenate([features, embedding[:, None]], axis=1)
        return sequence, with_read(text.mask, 1)


def with_read(mask: Array, count: int) -> Array:
    """mask [B, L] with `count` more positions behind it that are read: bool [B, L + count]."""
    return jnp.pad(mask, ((0, 0), (0, count)), constant_values=True)


class DiffusionPrior(nn.Module):
    """Predicts the un-noised image embedding (§2.2).

    One causal sequence: encoded tokens, text embedding, time, noised image embedding, and a learned
    query, at which the prediction is read. Embeddings of length 1 are scaled by `embedding_scale`
    before they are noised, and so is the prediction. `max_length` is that of captions, in tokens.
    """

    width: int
    depth: int
    num_heads: int
    max_length: int
    embedding_scale: float
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(self, x_t: Array, t: Array, text: Text) -> Array:
        """x_t [B, D], t [B] in [0, 1] → x0_hat [B, D] in float32."""
        init = nn.initializers.normal(0.02)
        time = TimestepEmbedding(self.width, self.width, self.dtype, name="time_embedding")
        noised = nn.Dense(self.width, dtype=self.dtype, name="image_embedding")(x_t)
        query = self.param("query", init, (self.width,)).astype(self.dtype)
        query = repeat(query, "d -> b d", b=x_t.shape[0])
        before, mask = TextSequence(
            self.width, self.max_length, self.embedding_scale, self.dtype, name="text"
        )(text)
        # These three stand in one place each and have biases of their own: they need no position.
        own = jnp.stack([time(1000.0 * t), noised, query], axis=1)
        x = jnp.concatenate([before, own], axis=1)
        x = Transformer(
            self.depth,
            self.num_heads,
            causal=True,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x, mask=with_read(mask, own.shape[1]))
        zeros = nn.initializers.zeros
        out = nn.Dense(x_t.shape[-1], dtype=self.dtype, kernel_init=zeros, name="out")
        return out(x[:, -1]).astype(jnp.float32)


class AutoregressivePrior(nn.Module):
    """Predicts the buckets of an image embedding one after the other (§2.2).

    The text encoder's output stands, as keys and values, before the sequence of the latent
    transformer: the bucket of image · text, then the buckets of dimensions 1 … K − 1; read at
    position k is dimension k + 1. Where the caption is dropped, so is the dot product.

    Attributes:
        text, latent: width, depth and num_heads of the two transformers.
        max_length: of captions, in tokens.
        num_dimensions: K.
        num_buckets: of each dimension, and of the dot product.
        scan_blocks: of both transformers, see `nn.transformer.Transformer`.
    """

    text: Mapping[str, Any]
    latent: Mapping[str, Any]
    max_length: int
    num_dimensions: int
    num_buckets: int
    embedding_scale: float
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    def setup(self):
        """Build both transformers and the latent one's embeddings."""
        init = nn.initializers.normal(0.02)
        read, write = self.text["width"], self.latent["width"]
        self.text_sequence = TextSequence(read, self.max_length, self.embedding_scale, self.dtype)
        self.text_transformer = self._transformer(self.text)
        self.latent_transformer = self._transformer(self.latent)
        self.dot = self.param("dot", init, (self.num_buckets, write))
        self.no_dot = self.param("no_dot", init, (write,))
        self.bucket = self.param("bucket", init, (self.num_buckets, write))
        self.position = self.param("position", init, (self.num_dimensions, write))
        self.out = nn.Dense(self.num_buckets, dtype=self.dtype)

    def _transformer(self, sizes: Mapping[str, Any]) -> Transformer:
        return Transformer(
            sizes["depth"],
            sizes["num_heads"],
            causal=True,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
        )

    def __call__(self, text: Text, dot: Array, buckets: Array) -> Array:
        """Logits float32 [B, K, num_buckets] of each of buckets [B, K], given those before it.

        dot [B] is the bucket of image · text.
        """
        later = jnp.take(self.bucket, buckets[:, :-1], axis=0)
        x = jnp.concatenate([self._first(text, dot)[:, None], later], axis=1)
        x = (x + self.position[None]).astype(self.dtype)
        read, mask = self._read(text)
        return self._logits(self.latent_transformer(x, read, with_read(mask, x.shape[1])))

    def start(self, text: Text, dot: Array) -> tuple[Array, Caches]:
        """Logits [B, num_buckets] of dimension 1, and what `next` goes on from."""
        slots = text.mask.shape[1] + 1 + self.num_dimensions
        caches = empty_caches(
            dot.shape[0], slots, **self.latent, dtype=self.dtype, scan_blocks=self.scan_blocks
        )
        x = (self._first(text, dot) + self.position[:1]).astype(self.dtype)
        read, mask = self._read(text)
        x, caches = self.latent_transformer(
            x[:, None], read, with_read(mask, self.num_dimensions), caches
        )
        return self._logits(x[:, 0]), caches

    def next(self, bucket: Array, k: Array, text: Text, caches: Caches) -> tuple[Array, Caches]:
        """Logits [B, num_buckets] of dimension k + 1, given the bucket [B] of dimension k ≥ 1."""
        x = jnp.take(self.bucket, bucket, axis=0) + self.position[k][None]
        slots = jax.tree.leaves(caches)[0].shape[-3]
        slot = slots - self.num_dimensions + k
        mask = with_read(text.mask, 1 + self.num_dimensions)
        x = x[:, None].astype(self.dtype)
        x, caches = self.latent_transformer(x, None, mask, caches, slot)
        return self._logits(x[:, 0]), caches

    def _read(self, text: Text) -> tuple[Array, Array]:
        sequence, mask = self.text_sequence(text)
        return self.text_transformer(sequence, mask=mask), mask

    def _first(self, text: Text, dot: Array) -> Array:
        known = jnp.take(self.dot, dot, axis=0)
        return jnp.where(text.present[:, None], known, self.no_dot[None])

    def _logits(self, x: Array) -> Array:
        return self.out(x).astype(jnp.float32)
