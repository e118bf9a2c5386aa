"""Multi-head attention, over a sequence or over the pixels of a feature map."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array

from dalle_jax.nn.norms import GroupNorm


class Cache(NamedTuple):
    """Keys and values of the positions that a causal attention has read; unread slots are 0."""

    keys: Array  # [B, S, H, D / H]
    values: Array  # [B, S, H, D / H]


class Attention(nn.Module):
    """Self-attention with optional keys and values of a projected context.

    softmax([q·k_c, q·k_x] / √d)·[v_c; v_x]: one softmax over the context and the sequence together,
    as GLIDE (§4.1 and its released code) attends to text; there is no separate cross-attention.
    With `causal` a position attends to all of the context, to itself and to earlier positions. No
    position attends to keys where `mask` is False; a position whose keys are all masked, such as
    padding before a text, has a finite but meaningless output.
    The softmax is computed in float32 whatever `dtype` is.
    """

    num_heads: int
    causal: bool = False
    zero_init: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        context: Array | None = None,
        mask: Array | None = None,
        cache: Cache | None = None,
        start: Array | int = 0,
    ) -> Array | tuple[Array, Cache]:
        """x [B, L, D], context [B, M, C] or None, mask bool [B, M + L] or None → [B, L, D].

        The mask is over the keys, those of the context first; None masks no key. With a cache of S
        slots whose first `start` are filled, context and x fill the next slots, x attends to all
        slots up to its own, the mask is [B, S], and the result is ([B, L, D], the updated cache).
        """
        if cache is not None and not self.causal:
            raise ValueError("only causal attention can use a cache; set causal=True")
        width = x.shape[-1]
        heads = {"h": self.num_heads}
        qkv = nn.Dense(3 * width, dtype=self.dtype, name="qkv")(x)
        q, k, v = rearrange(qkv, "b l (three h d) -> three b l h d", three=3, **heads)
        if context is not None:
            kv = nn.Dense(2 * width, dtype=self.dtype, name="context_kv")(context)
            context_k, context_v = rearrange(kv, "b m (two h d) -> two b m h d", two=2, **heads)
            k = jnp.concatenate([context_k, k], axis=1)
            v = jnp.concatenate([context_v, v], axis=1)
        first = start + k.shape[1] - q.shape[1]  # slot of x[:, 0]
        if cache is not None:
            write = jax.lax.dynamic_update_slice_in_dim
            cache = Cache(write(cache.keys, k, start, 1), write(cache.values, v, start, 1))
            k, v = cache
        mask = None if mask is None else mask[:, None, None, :]
        if self.causal:
            causal = causal_mask(q.shape[1], k.shape[1], first)
            mask = causal if mask is None else causal & mask
        y = rearrange(attend(q, k, v, mask), "b l h d -> b l (h d)")
        init = nn.initializers.zeros if self.zero_init else nn.linear.default_kernel_init
        y = nn.Dense(width, dtype=self.dtype, kernel_init=init, name="out")(y)
        return y if cache is None else (y, cache)


def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """softmax(q kᵀ / √d) v of each head: q [B, L, H, d], k and v [B, S, H, d] → [B, L, H, d].

    `mask`, [B or 1, 1, L or 1, S], is True where a query attends to a key. Uses
    jax.nn.dot_product_attention, except in float32 on a CPU, where that spends most of its time on
    copies (docs/log/performance.md). In 16 bits and without a causal mask an NVIDIA GPU uses
    cuDNN's kernel, which never holds the weights of all heads.
    """
    if q.dtype != jnp.float32 or jax.default_backend() != "cpu":
        causal = mask is not None and mask.shape[2] > 1
        flash = not causal and _takes_flash(q, k) and has_cudnn_flash()
        if flash and mask is not None:
            mask = jnp.broadcast_to(mask, (q.shape[0], 1, q.shape[1], k.shape[1]))
        kind = "cudnn" if flash else None
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=kind)
    # Heads before positions. The division by the softmax's sum comes last, on the smaller array.
    q, k, v = (rearrange(x, "b l h d -> b h l d") for x in (q * q.shape[-1] ** -0.5, k, v))
    logits = jnp.einsum("bhld,bhsd->bhls", q, k)
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(logits.dtype).min)  # finite: all may be masked
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(axis=-1, keepdims=True)))
    y = jnp.einsum("bhls,bhsd->bhld", weights, v) / weights.sum(axis=-1, keepdims=True)
    return rearrange(y, "b h l d -> b l h d")


def _takes_flash(q: Array, k: Array) -> bool:
    """Whether cuDNN's kernels, including their gradients, support these sizes and dtypes."""
    return (
        q.dtype.itemsize == 2
        and q.shape[-1] % 8 == 0
        and q.shape[-1] <= 128
        and q.shape[1] % 2 == k.shape[1] % 2 == 0
    )


@functools.cache
def has_cudnn_flash() -> bool:
    """Whether the default device is an NVIDIA GPU with cuDNN's flash attention: Ampere or later."""
    device = jax.devices()[0]
    return "cuda" in device.client.platform_version and float(device.compute_capability) >= 8


def causal_mask(queries: int, slots: int, first: Array | int) -> Array:
    """[1, 1, queries, slots]: query i is in slot `first` + i and attends to the slots up to it."""
    own = first + jnp.arange(queries)
    return (jnp.arange(slots)[None, :] <= own[:, None])[None, None]


class SpatialAttention(nn.Module):
    """x + Attention(GroupNorm(x)) over all pixels of a feature map (ADM; GLIDE with text)."""

    head_channels: int
    norm_groups: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None, mask: Array | None = None) -> Array:
        """x [B, H, W, C], context [B, M, D] or None, mask of it bool [B, M] → [B, H, W, C]."""
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
        if mask is not None:  # every pixel is seen
            mask = jnp.pad(mask, ((0, 0), (0, height * width)), constant_values=True)
        h = attention(h, context, mask)
        return x + rearrange(h, "b (h w) c -> b h w c", h=height)
