"""CLIP: an image transformer and a text transformer with a common embedding space."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax import Array

from dalle_jax.nn.embeddings import TextEmbedding, at_last_token, token_mask
from dalle_jax.nn.transformer import Transformer

TEMPERATURE = 0.07  # initial τ (CLIP, §2.5)
MAX_LOGIT_SCALE = 100.0  # upper bound of 1 / τ (§2.5)


class ImageEncoder(nn.Module):
    """CLIP's vision transformer (Dosovitskiy et al. 2021), whose output is its class token.

    CLIP (Radford et al. 2021, §2.4) adds a layer norm before the first block.
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """image [B, H, W, 3] in [−1, 1] → [B, width]."""
        batch, height, width = image.shape[:3]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"patches of {self.patch_size} pixels do not tile an image of {height}×{width}; "
                "set clip.model.image.patch_size to a divisor of data.image_size"
            )
        sides = {"p": self.patch_size, "q": self.patch_size}
        x = rearrange(image, "b (h p) (w q) c -> b (h w) (p q c)", **sides)
        x = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="patches")(x)
        init = nn.initializers.normal(self.width**-0.5)
        class_token = self.param("class_token", init, (self.width,))
        class_token = repeat(class_token.astype(self.dtype), "d -> b 1 d", b=batch)
        x = jnp.concatenate([class_token, x], axis=1)
        position = self.param("position", init, x.shape[1:])
        x = x + position[None].astype(self.dtype)
        x = nn.LayerNorm(dtype=self.dtype, name="first_norm")(x)
        x = Transformer(
            self.depth,
            self.num_heads,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x)
        return x[:, 0]


class TextEncoder(nn.Module):
    """Causal transformer over tokens, whose output is that of the end-of-text token (CLIP, §2.4).

    Tokens after the end of text do not change the outputs before them.
    """

    vocab_size: int
    max_length: int
    width: int
    depth: int
    num_heads: int
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(self, tokens: Array) -> tuple[Array, Array, Array]:
        """tokens [B, L] → pooled [B, width] (the end of text's feature), all features
        [B, L, width] and their mask, bool [B, L]."""
        x = TextEmbedding(
            self.vocab_size, self.max_length, self.width, self.dtype, name="embedding"
        )(tokens)
        x = Transformer(
            self.depth,
            self.num_heads,
            causal=True,
            dtype=self.dtype,
            scan_blocks=self.scan_blocks,
            name="transformer",
        )(x)
        mask = token_mask(tokens)
        return at_last_token(x, mask), x, mask


class Clip(nn.Module):
    """Both encoders, their projections to the embedding space, and the learned temperature.

    Attributes:
        image: keyword arguments of ImageEncoder.
        text: keyword arguments of TextEncoder.
        embedding_width: D, the width of the embedding space.
        scan_blocks: for both encoders, see `nn.transformer.Transformer`.
    """

    image: Mapping[str, Any]
    text: Mapping[str, Any]
    embedding_width: int
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    def setup(self):
        """Build both encoders."""
        self.image_encoder = ImageEncoder(
            **self.image, dtype=self.dtype, scan_blocks=self.scan_blocks
        )
        self.text_encoder = TextEncoder(**self.text, dtype=self.dtype, scan_blocks=self.scan_blocks)
        dense = {"use_bias": False, "dtype": self.dtype}
        self.image_projection = nn.Dense(self.embedding_width, **dense)
        self.text_projection = nn.Dense(self.embedding_width, **dense)
        start = nn.initializers.constant(-math.log(TEMPERATURE))
        self.log_scale = self.param("log_scale", start, ())

    def encode_image(self, image: Array) -> Array:
        """image [B, H, W, 3] in [−1, 1] → embeddings [B, D] of length 1, float32."""
        return normalize(self.image_projection(self.image_encoder(image)))

    def encode_text(self, tokens: Array) -> tuple[Array, Array]:
        """tokens [B, L] → embeddings [B, D] of length 1, float32, and features [B, L, width]."""
        end, features, _ = self.text_encoder(tokens)
        return normalize(self.text_projection(end)), features

    def logit_scale(self) -> Array:
        """1 / τ, a scalar."""
        return jnp.exp(capped(self.log_scale, math.log(MAX_LOGIT_SCALE)))

    def __call__(self, image: Array, tokens: Array) -> tuple[Array, Array, Array]:
        """Embeddings of the images [B, D] and of the texts [B, D], and 1 / τ."""
        return self.encode_image(image), self.encode_text(tokens)[0], self.logit_scale()


def normalize(x: Array) -> Array:
    """x / ‖x‖ along the last axis, in float32."""
    x = x.astype(jnp.float32)
    # The maximum is inside the root, since the gradient of a norm at 0 is NaN.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-12))


@jax.custom_vjp
def capped(x: Array, cap: float) -> Array:
    """min(x, cap), with a gradient that also passes above the cap if descent along it lowers x.

    CLIP clips the parameter itself after each update. The gradient of min is 0 above the cap, so
    x could never decrease again.
    """
    return jnp.minimum(x, cap)


def _capped_forward(x, cap):
    return jnp.minimum(x, cap), x < cap


def _capped_backward(below, gradient):
    return jnp.where(below | (gradient > 0), gradient, 0.0), None


capped.defvjp(_capped_forward, _capped_backward)
