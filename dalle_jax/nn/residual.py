"""The residual block of the ADM and GLIDE U-Nets, with downsampling and upsampling."""

import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import reduce, repeat
from jax import Array

from dalle_jax.nn.norms import GroupNorm
from dalle_jax.nn.winograd import convolution


def downsample(x: Array) -> Array:
    """Mean over 2×2 pixels: [B, 2H, 2W, C] → [B, H, W, C]."""
    return reduce(x, "b (h 2) (w 2) c -> b h w c", "mean")


def upsample(x: Array) -> Array:
    """Nearest-neighbour upsampling: [B, H, W, C] → [B, 2H, 2W, C]."""
    return repeat(x, "b h w c -> b (h 2) (w 2) c")


RESAMPLE = {"same": lambda x: x, "down": downsample, "up": upsample}


class ResidualBlock(nn.Module):
    """GroupNorm → SiLU → [resample] → conv → scaled, shifted norm → SiLU → conv, + skip.

    The embedding enters as GN(h)·(1 + w) + b ("adaptive group normalization", Dhariwal & Nichol
    2021, eq. 3). The last convolution is initialized to zero, so that a new block is the identity.
    `resample` changes the resolution before the first convolution ("BigGAN up/downsampling" in
    ADM).
    """

    channels: int
    resample: Literal["same", "down", "up"] = "same"
    norm_groups: int = 32
    dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, embedding: Array, *, train: bool) -> Array:
        """x [B, H, W, C_in], embedding [B, E] → [B, H', W', channels]."""
        resample = RESAMPLE[self.resample]
        h = jax.nn.silu(GroupNorm(self.norm_groups, self.dtype, name="norm_in")(x))
        conv = functools.partial(
            nn.Conv, self.channels, (3, 3), dtype=self.dtype, conv_general_dilated=convolution
        )
        h = conv(name="conv_in")(resample(h))

        scale_shift = nn.Dense(2 * self.channels, dtype=self.dtype, name="embedding")
        scale, shift = jnp.split(scale_shift(jax.nn.silu(embedding))[:, None, None, :], 2, axis=-1)
        h = GroupNorm(self.norm_groups, self.dtype, name="norm_out")(h) * (1 + scale) + shift
        h = nn.Dropout(self.dropout, deterministic=not train)(jax.nn.silu(h))
        h = conv(kernel_init=nn.initializers.zeros, name="conv_out")(h)

        x = resample(x)
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="skip")(x)
        return x + h
