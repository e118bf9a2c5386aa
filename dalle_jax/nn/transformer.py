"""A pre-norm transformer over a sequence."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.attention import Attention, Cache
from dalle_jax.nn.remat import run_block


class TransformerBlock(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)) with a hidden width of 4·D and GELU."""

    num_heads: int
    causal: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        context: Array | None = None,
        cache: Cache | None = None,
        start: Array | int = 0,
    ) -> tuple[Array, Cache | None]:
        """As `Attention`: x [B, L, D] → [B, L, D] and the cache after it."""
        width = x.shape[-1]
        h = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        attention = Attention(self.num_heads, self.causal, dtype=self.dtype, name="attention")
        if cache is None:
            h = attention(h, context)
        else:
            h, cache = attention(h, context, cache, start)
        x = x + h
        h = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        h = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="mlp_in")(h))
        return x + nn.Dense(width, dtype=self.dtype, name="mlp_out")(h), cache


class Transformer(nn.Module):
    """`depth` blocks and a final layer norm; every block attends to the same context."""

    depth: int
    num_heads: int
    causal: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        context: Array | None = None,
        caches: tuple[Cache, ...] | None = None,
        start: Array | int = 0,
    ) -> Array | tuple[Array, tuple[Cache, ...]]:
        """x [B, L, D], context [B, M, C] or None → [B, L, D].

        With caches, one a block, whose first `start` slots are read already (context first), the
        result is ([B, L, D], the caches then), see `Attention`.
        """
        after = []
        for i in range(self.depth):
            block = TransformerBlock(self.num_heads, self.causal, self.dtype, name=f"block_{i}")
            if caches is None:
                x, _ = run_block(block, x, context)
            else:
                x, cache = block(x, context, caches[i], start)
                after.append(cache)
        x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return x if caches is None else (x, tuple(after))


def empty_caches(
    batch: int, slots: int, *, width: int, depth: int, num_heads: int, dtype: jnp.dtype
) -> tuple[Cache, ...]:
    """What a `Transformer` of these sizes starts from to read up to `slots` positions."""
    zeros = jnp.zeros((batch, slots, num_heads, width // num_heads), dtype)
    return (Cache(zeros, zeros),) * depth
