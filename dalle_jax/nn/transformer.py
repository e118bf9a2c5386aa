"""A pre-norm transformer over a sequence."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.attention import Attention


class TransformerBlock(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)) with a hidden width of 4·D and GELU."""

    num_heads: int
    causal: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, L, D] → [B, L, D]."""
        width = x.shape[-1]
        h = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        x = x + Attention(self.num_heads, self.causal, dtype=self.dtype, name="attention")(h)
        h = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        h = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="mlp_in")(h))
        return x + nn.Dense(width, dtype=self.dtype, name="mlp_out")(h)


class Transformer(nn.Module):
    """`depth` blocks and a final layer norm."""

    depth: int
    num_heads: int
    causal: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, L, D] → [B, L, D]."""
        for i in range(self.depth):
            x = TransformerBlock(self.num_heads, self.causal, self.dtype, name=f"block_{i}")(x)
        return nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
