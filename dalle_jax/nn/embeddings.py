"""Embeddings of scalars, tokens and positions."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def sinusoidal(t: Array, width: int, max_period: float = 10_000.0) -> Array:
    """Sinusoidal features of a scalar (Vaswani et al. 2017, §3.5, as DDPM uses them for t).

    [sin(t·ω_k), cos(t·ω_k)] with ω_k = max_period^(−k/(width/2 − 1)).

    Args:
        t: [B], any real number; the networks of this package pass 1000·t for t in [0, 1].
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
    """Token plus position embedding of captions padded to any length up to `max_length`.

    Padding has the embedding of token 0; readers mask it with `token_mask`.
    """

    vocab_size: int
    max_length: int
    width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Array) -> Array:
        """[B, L] int32 token ids, 0 = padding → [B, L, width]."""
        length = tokens.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"the text transformer reads {self.max_length} tokens but got {length}; "
                "encode captions with the tokenizer that was saved with its run"
            )
        init = nn.initializers.normal(0.02)
        table = self.param("token", init, (self.vocab_size, self.width))
        position = self.param("position", init, (self.max_length, self.width))
        return (jnp.take(table, tokens, axis=0) + position[None, :length]).astype(self.dtype)


def token_mask(tokens: Array) -> Array:
    """The mask of tokens [B, L]: bool [B, L], False for the padding after a caption."""
    return tokens != 0


def at_last_token(x: Array, mask: Array) -> Array:
    """x [B, L, D] at the last True of mask [B, L], a caption's end of text → [B, D]."""
    last = jnp.sum(mask, axis=1) - 1
    return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
