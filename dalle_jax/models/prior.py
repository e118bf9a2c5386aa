"""The two priors of unCLIP: networks that predict an image embedding from a caption.

Ramesh et al. 2022 (2204.06125, §2.2). Both read the caption with a causal transformer over its
encoded tokens and its embedding. The diffusion prior predicts in the same sequence; the
autoregressive prior passes the transformer's output to a second one.
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
    """Encoded captions. A dropped one has an all-False mask, and its other fields are ignored."""

    embedding: Array  # [B, D], of length 1
    features: Array  # [B, L, W]
    mask: Array  # bool [B, L], True where there is a token

    @classmethod
    def of(cls, embedding: Array, features: Array, tokens: Array) -> "Text":
        """Captions from a CLIP's outputs and the tokens [B, L] that they encode."""
        return cls(embedding, features, token_mask(tokens))

    def dropped(self, which: Array) -> "Text":
        """These captions with those dropped where `which` [B] is True."""
        return self._replace(mask=self.mask & ~which[:, None])

    @property
    def present(self) -> Array:
        """Which captions are not dropped [B]: such a caption has at least its end-of-text token."""
        return jnp.any(self.mask, axis=1)


class TextSequence(nn.Module):
    """[features; embedding], with a learned vector in place of the embedding of dropped captions.

    `embedding_scale` scales the embeddings, of length 1, to the usual scale of a layer's input.
    `max_length` is the captions' maximum length in tokens.
    """

    width: int
    max_length: int
    embedding_scale: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, text: Text) -> tuple[Array, Array]:
        """Captions → [B, L + 1, width], and their mask, bool [B, L + 1]."""
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
        return sequence, extended_mask(text.mask, 1)


def extended_mask(mask: Array, count: int) -> Array:
    """mask [B, L] followed by `count` unmasked positions: bool [B, L + count]."""
    return jnp.pad(mask, ((0, 0), (0, count)), constant_values=True)


class DiffusionPrior(nn.Module):
    """Predicts the clean image embedding (§2.2).

    One causal sequence: encoded tokens, text embedding, time, noised image embedding, and a learned
    query whose output is the prediction. Embeddings of length 1 are scaled by `embedding_scale`
    before noise is added, and the prediction has that scale. `max_length` is the captions' maximum
    length in tokens.
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
        # These three have fixed positions and separate biases, so they need no position embedding.
        suffix = jnp.stack([time(1000.0 * t), noised, query], axis=1)
        x = jnp.concatenate([before, suffix], axis=1)
        x = Transformer(
            self.depth,
            self.num_heads,
            causal=True,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x, mask=extended_mask(mask, suffix.shape[1]))
        zeros = nn.initializers.zeros
        out = nn.Dense(x_t.shape[-1], dtype=self.dtype, kernel_init=zeros, name="out")
        return out(x[:, -1]).astype(jnp.float32)


class AutoregressivePrior(nn.Module):
    """Predicts the buckets of an image embedding autoregressively (§2.2).

    The sequence of the latent transformer is the bucket of image · text, then the buckets of
    dimensions 1 … K − 1; the output at position k predicts dimension k + 1. The text transformer's
    output precedes it as keys and values. The dot product is dropped together with the caption.

    Attributes:
        text, latent: width, depth and num_heads of the two transformers.
        max_length: of captions, in tokens.
        num_dimensions: K.
        num_buckets: buckets of each dimension and of the dot product.
        scan_blocks: for both transformers, see `nn.transformer.Transformer`.
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
        """Logits float32 [B, K, num_buckets] of each of buckets [B, K], given the earlier ones.

        dot [B] is the bucket of image · text.
        """
        later = jnp.take(self.bucket, buckets[:, :-1], axis=0)
        x = jnp.concatenate([self._first(text, dot)[:, None], later], axis=1)
        x = (x + self.position[None]).astype(self.dtype)
        read, mask = self._read(text)
        return self._logits(self.latent_transformer(x, read, extended_mask(mask, x.shape[1])))

    def start(self, text: Text, dot: Array) -> tuple[Array, Caches]:
        """Logits [B, num_buckets] of dimension 1, and the caches for `next`."""
        slots = text.mask.shape[1] + 1 + self.num_dimensions
        caches = empty_caches(
            dot.shape[0], slots, **self.latent, dtype=self.dtype, scan_blocks=self.scan_blocks
        )
        x = (self._first(text, dot) + self.position[:1]).astype(self.dtype)
        read, mask = self._read(text)
        x, caches = self.latent_transformer(
            x[:, None], read, extended_mask(mask, self.num_dimensions), caches
        )
        return self._logits(x[:, 0]), caches

    def next(self, bucket: Array, k: Array, text: Text, caches: Caches) -> tuple[Array, Caches]:
        """Logits [B, num_buckets] of dimension k + 1, given the bucket [B] of dimension k ≥ 1."""
        x = jnp.take(self.bucket, bucket, axis=0) + self.position[k][None]
        slots = jax.tree.leaves(caches)[0].shape[-3]
        slot = slots - self.num_dimensions + k
        mask = extended_mask(text.mask, 1 + self.num_dimensions)
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
