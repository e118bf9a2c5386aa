"""A pre-norm transformer over a sequence."""

import flax.linen as nn
import jax.numpy as jnp
from einops import repeat
from jax import Array

from dalle_jax.nn.attention import Attention, Cache
from dalle_jax.nn.remat import run_block

# One cache per block; with `scan_blocks` one cache of arrays [depth, B, S, H, D / H].
Caches = tuple[Cache, ...] | Cache


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
        mask: Array | None = None,
        cache: Cache | None = None,
        start: Array | int = 0,
    ) -> tuple[Array, Cache | None]:
        """x [B, L, D] → ([B, L, D], the updated cache or None); arguments as in `Attention`."""
        width = x.shape[-1]
        h = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        attention = Attention(self.num_heads, self.causal, dtype=self.dtype, name="attention")
        if cache is None:
            h = attention(h, context, mask)
        else:
            h, cache = attention(h, context, mask, cache, start)
        x = x + h
        h = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        h = nn.gelu(nn.Dense(4 * width, dtype=self.dtype, name="mlp_in")(h))
        return x + nn.Dense(width, dtype=self.dtype, name="mlp_out")(h), cache


class Transformer(nn.Module):
    """`depth` blocks and a final layer norm; every block attends to the same context.

    With `scan_blocks` the blocks are one loop over parameters stacked along a first axis, under
    `blocks` in place of `block_0`, `block_1`, …. The time to trace and compile is then that of one
    block, whatever the depth.
    """

    depth: int
    num_heads: int
    causal: bool = False
    dtype: jnp.dtype = jnp.float32
    scan_blocks: bool = False

    @nn.compact
    def __call__(
        self,
        x: Array,
        context: Array | None = None,
        mask: Array | None = None,
        caches: Caches | None = None,
        start: Array | int = 0,
    ) -> Array | tuple[Array, Caches]:
        """x [B, L, D], context [B, M, C] or None, mask bool [B, M + L] or None → [B, L, D].

        With caches (initially those of `empty_caches`) whose first `start` slots are filled,
        context first, the result is ([B, L, D], the updated caches); see `Attention`.
        """
        if self.scan_blocks:
            block = TransformerBlock(self.num_heads, self.causal, self.dtype, name="blocks")
            x, after = _scanned(block, self.depth, x, context, mask, caches, start)
        else:
            after = ()
            for i in range(self.depth):
                block = TransformerBlock(self.num_heads, self.causal, self.dtype, name=f"block_{i}")
                if caches is None:
                    x, _ = run_block(block, x, context, mask)
                else:
                    x, cache = block(x, context, mask, caches[i], start)
                    after += (cache,)
        x = nn.LayerNorm(dtype=self.dtype, name="final_norm")(x)
        return x if caches is None else (x, after)


def _scanned(
    block: TransformerBlock,
    depth: int,
    x: Array,
    context: Array | None,
    mask: Array | None,
    caches: Cache | None,
    start: Array | int,
) -> tuple[Array, Cache | None]:
    """Apply `depth` blocks like `block` in sequence, each with its own slice of the parameters."""

    def body(block, x, context, mask, cache, start):
        if cache is None:
            return run_block(block, x, context, mask, in_loop=True)
        return block(x, context, mask, cache, start)

    scan = nn.scan(
        body,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=(nn.broadcast, nn.broadcast, 0, nn.broadcast),
        length=depth,
    )
    return scan(block, x, context, mask, caches, start)


def empty_caches(
    batch: int,
    slots: int,
    *,
    width: int,
    depth: int,
    num_heads: int,
    dtype: jnp.dtype,
    scan_blocks: bool = False,
) -> Caches:
    """Empty caches for a `Transformer` of these sizes that reads up to `slots` positions."""
    zeros = jnp.zeros((batch, slots, num_heads, width // num_heads), dtype)
    if scan_blocks:
        zeros = repeat(zeros, "b s h d -> depth b s h d", depth=depth)
        return Cache(zeros, zeros)
    return (Cache(zeros, zeros),) * depth
