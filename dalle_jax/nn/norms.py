"""Normalisations with float32 statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from dalle_jax.nn.fusion import computed_once

_EPSILON = 1e-5


class GroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018) over [B, H, W, C], statistics in float32.

    Written as one scale and one shift a channel, y = x·a + b, so that the large tensor is read
    twice (moments, then the affine map) and never copied to the grouped layout.
    """

    groups: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] → [B, H, W, C] in `dtype`."""
        channels = x.shape[-1]
        if channels % self.groups:
            raise ValueError(
                f"{channels} channels can't be normalised in {self.groups} groups; set norm_groups "
                "to a divisor of every level's width"
            )
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x32 = computed_once(x).astype(jnp.float32)
        # The mean square less the square of the mean loses all digits where |mean| is thousands of
        # deviations. Any number near the mean, taken away first, saves them: one of the group's
        # own. Nothing depends on which it is, so no gradient goes through it.
        d = x32 - _near_mean(x32, self.groups)[:, None, None, :]
        mean = _group_mean(jnp.mean(d, axis=(1, 2)), self.groups)  # [B, C]
        mean_square = _group_mean(jnp.mean(jnp.square(d), axis=(1, 2)), self.groups)
        variance = jnp.maximum(mean_square - jnp.square(mean), 0.0)
        a = jax.lax.rsqrt(variance + _EPSILON) * scale[None]
        b = bias[None] - mean * a
        return (d * a[:, None, None, :] + b[:, None, None, :]).astype(self.dtype)


def _near_mean(x: Array, groups: int) -> Array:
    """The first number of each group of x [B, H, W, C], given to each of its channels: [B, C]."""
    size = x.shape[-1] // groups
    first = jax.lax.stop_gradient(x[:, 0, 0, ::size])  # [B, G]
    return jnp.sum(first[:, :, None] * _members(groups, size), axis=1)


def _group_mean(per_channel: Array, groups: int) -> Array:
    """Mean of per-channel moments over each group, given back to each channel: [B, C] → [B, C].

    By sums over a table of members: as a reshape and a broadcast it would be fused into whatever
    reads it on the CPU, and every pixel would work out anew which group its channel is in.
    """
    size = per_channel.shape[-1] // groups
    member = _members(groups, size)
    mean = jnp.sum(per_channel[:, None, :] * member, axis=2) / size
    return jnp.sum(mean[:, :, None] * member, axis=1)


def _members(groups: int, size: int) -> Array:
    """Which channels are in which group: [1, G, C] of 0 and 1."""
    return jnp.repeat(jnp.eye(groups), size, axis=1)[None]
