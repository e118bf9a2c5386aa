"""Embeddings of scalars, tokens and positions."""

import math

import flax.linen as nn
import jax.numpy as jnp
from einops import repeat
from jax import Array


def sinusoidal(t: Array, width: int, max_period: float = 10_000.0) -> Array:
    """Sinusoidal features of a scalar (Vaswani et al. 2017, §3.5, as DDPM uses them for t).

    [sin(t·ω_k), cos(t·ω_k)] with ω_k = max_period^(−k/(width/2 − 1)).

    Args:
        t: [B], any real number; the family's networks are given 1000·t for t in [0, 1].
        width: number of features, even.

    Returns:
        [B, width] float32.
    """
    half = width // 2
    frequencies = jnp.exp(-math.log(max_period) / (half - 1) * jnp.arange(half, dtype=jnp.float32))
    angles = t.astype(jnp.float32)[:, None] * frequencies[None, :]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class TimestepEmbedding(nn.Module):
    """MLP over sinusoidal features of the time: Dense → SiLU → Dense (DDPM, appendix B)."""

    width: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, t: Array) -> Array:
        """[B] time → [B, features]."""
        h = sinusoidal(t, self.width).astype(self.dtype)
        h = nn.Dense(self.features, dtype=self.dtype, name="in")(h)
        return nn.Dense(self.features, dtype=self.dtype, name="out")(nn.silu(h))


class TextEmbedding(nn.Module):
    """Token plus position embedding; padding has a learned vector of its own at each position.

    A learned padding vector instead of a mask lets every position be attended to, which is what
    DALL-E (§2.2) and GLIDE's released code do.
    """

    vocab_size: int
    max_length: int
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """[B, L] int32 token ids, 0 = padding → [B, L, width]."""
        length = tokens.shape[1]
        if length != self.max_length:
            raise ValueError(
                f"the text transformer reads {self.max_length} tokens but was given {length}; "
                "encode captions with the tokenizer that was saved with its run"
            )
        init = nn.initializers.normal(0.02)
        table = self.param("token", init, (self.vocab_size, self.width))
        position = self.param("position", init, (length, self.width))
        padding = self.param("padding", init, (length, self.width))
        batch = tokens.shape[0]
        embedded = jnp.take(table, tokens, axis=0) + repeat(position, "l d -> b l d", b=batch)
        padding = repeat(padding, "l d -> b l d", b=batch)
        return jnp.where((tokens == 0)[..., None], padding, embedded).astype(self.dtype)
