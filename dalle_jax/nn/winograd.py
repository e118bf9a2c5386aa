"""3 × 3 convolutions with a quarter of the products: Winograd's F(4 × 4, 3 × 3) (1509.09308, §4.3).

    y = Aᵀ [(G k Gᵀ) ⊙ (Bᵀ x B)] A

for each tile of 4 × 4 pixels with its surrounding pixels, ⊙ summed over channels: 36 products of
matrices [tiles, channels] where a direct convolution takes 144. Each transform is also one matrix
product, with the Kronecker square of its matrix. In float32 the result differs from that of a
direct convolution by about 10⁻⁵ of its standard deviation.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array

MIN_CHANNELS = 32  # with fewer, the transforms cost as much as the products save

# At the points 0, 1, −1, 2, −2 and ∞.
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_TILE_TRANSFORM, _KERNEL_TRANSFORM, _OUTPUT_TRANSFORM = (
    np.kron(m, m).astype(np.float32) for m in (_B, _G, _A)
)


def convolution(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """jax.lax.conv_general_dilated for flax's layers: [B, H, W, C] → [B, H, W, K].

    Uses `winograd` where that is faster (docs/log/performance.md): in float32 on a CPU, for 3 × 3
    kernels, stride 1, sides that are multiples of 4 and at least `MIN_CHANNELS` channels.
    """
    plain = (
        jax.default_backend() == "cpu"
        and x.dtype == kernel.dtype == jnp.float32
        and x.ndim == 4
        and padding == "SAME"
        and kernel.shape[:2] == (3, 3)
        and kernel.shape[2] == x.shape[3]  # one group
        and {*strides, *options["lhs_dilation"], *options["rhs_dilation"]} == {1}
    )
    whole = all(side % 4 == 0 for side in x.shape[1:3])
    if plain and whole and min(kernel.shape[2:]) >= MIN_CHANNELS:
        return winograd(x, kernel)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def winograd(x: Array, kernel: Array) -> Array:
    """Convolve x [B, 4 h, 4 w, C], zero-padded, with kernel [3, 3, C, K] → [B, 4 h, 4 w, K]."""
    batch, height, width, _ = x.shape
    inner = rearrange(x, "b (h i) (w j) c -> i j b h w c", i=4, j=4)
    rows = jnp.concatenate([_shifted(inner[3:], 1, 3), inner, _shifted(inner[:1], -1, 3)])
    tiles = jnp.concatenate(
        [_shifted(rows[:, 3:], 1, 4), rows, _shifted(rows[:, :1], -1, 4)], axis=1
    )  # [6, 6, B, h, w, C]
    points = _TILE_TRANSFORM @ rearrange(tiles, "i j b h w c -> (i j) (b h w c)")
    weights = _KERNEL_TRANSFORM @ rearrange(kernel, "i j c k -> (i j) (c k)")
    products = jnp.einsum(
        "utc,uck->utk",
        rearrange(points, "u (t c) -> u t c", c=x.shape[3]),
        rearrange(weights, "u (c k) -> u c k", c=x.shape[3]),
    )
    y = _OUTPUT_TRANSFORM @ rearrange(products, "u t k -> u (t k)")
    sizes = {"i": 4, "b": batch, "h": height // 4, "w": width // 4}
    return rearrange(y, "(i j) (b h w k) -> b (h i) (w j) k", **sizes)


def _shifted(x: Array, by: int, axis: int) -> Array:
    """x shifted by one tile along an axis and filled with zeros."""
    length = x.shape[axis]
    inside = jax.lax.slice_in_dim(x, max(0, -by), length - max(0, by), axis=axis)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (max(0, by), max(0, -by))
    return jnp.pad(inside, pads)
