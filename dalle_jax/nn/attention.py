"""Multi-head attention, over a sequence or over the pixels of a feature map."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array

from dalle_jax.nn.norms import GroupNorm


class Attention(nn.Module):
    """Self-attention whose keys and values may be extended by a projected context.

    softmax([q·k_x, q·k_c] / √d)·[v_x; v_c]: one softmax over the sequence and the context together,
    as GLIDE (§4.1 and its released code) attends to text; there is no separate cross-attention.
    The softmax is computed in float32 whatever `dtype` is.
    """

    num_heads: int
    causal: bool = False
    zero_init: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """x [B, L, D], context [B, M, C] or None → [B, L, D]."""
        width = x.shape[-1]
        heads = {"h": self.num_heads}
        qkv = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(x)
        q, k, v = rearrange(qkv, "b l (three h d) -> three b l h d", three=3, **heads)
        if context is not None:
            kv = nn.Dense(2 * width, dtype=self.dtype, name="context_kv")(context)
            context_k, context_v = rearrange(kv, "b m (two h d) -> two b m h d", two=2, **heads)
            k = jnp.concatenate([k, context_k], axis=1)
            v = jnp.concatenate([v, context_v], axis=1)
        y = jax.nn.dot_product_attention(q, k, v, is_causal=self.causal)
        y = rearrange(y, "b l h d -> b l (h d)")
        init = nn.initializers.zeros if self.zero_init else nn.linear.default_kernel_init
        return nn.Dense(width, dtype=self.dtype, kernel_init=init, name="out")(y)


class SpatialAttention(nn.Module):
    """x + Attention(GroupNorm(x)) over all pixels of a feature map (ADM; GLIDE with text)."""

    head_channels: int
    norm_groups: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None) -> Array:
        """x [B, H, W, C], context [B, M, D] or None → [B, H, W, C]."""
        height, width, channels = x.shape[1:]
        if channels % self.head_channels:
            raise ValueError(
                f"attention heads of {self.head_channels} channels do not divide the {channels} "
                f"channels at {height}×{width}; change head_channels, channels or channel_mult"
            )
        h = GroupNorm(self.norm_groups, dtype=self.dtype, name="norm")(x)
        h = rearrange(h, "b h w c -> b (h w) c")
        attention = Attention(
            channels // self.head_channels, zero_init=True, dtype=self.dtype, name="attention"
        )
        h = attention(h, context)
        return x + rearrange(h, "b (h w) c -> b h w c", h=height)
