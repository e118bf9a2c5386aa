"""Normalization layers with float32 statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.fusion import computed_once

_EPSILON = 1e-5


class GroupNorm(nn.Module):
    """Group normalization (Wu & He 2018) over [B, H, W, C] with statistics in float32.

    Computed as one scale and one shift per channel, y = x·a + b, so that the large tensor is read
    twice (for the moments and the affine map) and never copied to the grouped layout.
    """

    groups: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] → [B, H, W, C] in `dtype`."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"{channels} channels can't be normalized in {self.groups} groups; set norm_groups "
                "to a divisor of every level's width"
            )
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x32 = computed_once(x).astype(jnp.float32)
        # E[x²] − E[x]² loses all digits where |mean| is thousands of deviations. Subtracting any
        # number near the mean first, here one element of the group, preserves them. The result does
        # not depend on that number, so no gradient flows through it.
        d = x32 - _near_mean(x32, self.groups)[:, None, None, :]
        mean = _group_mean(jnp.mean(d, axis=(1, 2)), self.groups)  # [B, C]
        mean_square = _group_mean(jnp.mean(jnp.square(d), axis=(1, 2)), self.groups)
        variance = jnp.maximum(mean_square - jnp.square(mean), 0.0)
        a = jax.lax.rsqrt(variance + _EPSILON) * scale[None]
        b = bias[None] - mean * a
        return (d * a[:, None, None, :] + b[:, None, None, :]).astype(self.dtype)


def _near_mean(x: Array, groups: int) -> Array:
    """The first element of each group of x [B, H, W, C], repeated for its channels: [B, C]."""
    size = x.shape[-1] // groups
    first = jax.lax.stop_gradient(x[:, 0, 0, ::size])  # [B, G]
    return jnp.sum(first[:, :, None] * _members(groups, size), axis=1)


def _group_mean(per_channel: Array, groups: int) -> Array:
    """Mean of per-channel moments over each group, repeated for its channels: [B, C] → [B, C].

    Uses sums over a membership table. On a CPU a reshape and a broadcast would be fused into the
    layers that read them, which would compute the group of the channel again for every pixel.
    """
    size = per_channel.shape[-1] // groups
    member = _members(groups, size)
    mean = jnp.sum(per_channel[:, None, :] * member, axis=2) / size
    return jnp.sum(mean[:, :, None] * member, axis=1)


def _members(groups: int, size: int) -> Array:
    """Group membership of the channels: [1, G, C] of 0 and 1."""
    return jnp.repeat(jnp.eye(groups), size, axis=1)[None]
