"""What JPEG compression does to an image, without the file: differentiable nowhere, jittable.

All of the baseline codec that loses something (ITU-T T.81): YCbCr with chroma of half the side,
8×8 DCT, the tables of its annex K scaled by quality as the Independent JPEG Group's library scales
them. What it leaves out, entropy coding, loses nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce
from jax import Array

# T.81, tables K.1 and K.2.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)

# JFIF: rows Y, Cb, Cr of columns R, G, B; the inverse has exact zeros where rounding would not.
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _dct_matrix() -> np.ndarray:
    """The orthonormal DCT-II: rows are frequencies, columns pixels [8, 8]."""
    u, x = np.arange(8)[:, None], np.arange(8)[None, :]
    scale = np.where(u == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return scale * np.cos((2 * x + 1) * u * np.pi / 16)


def compress(image: Array, quality: Array) -> Array:
    """Images float32 [B, H, W, 3] in [−1, 1] as their JPEG of quality [B] (1 … 100) shows them."""
    height, width = image.shape[1:3]
    # Whole 16×16 units, filled up from the edge.
    padding = ((0, 0), (0, -height % 16), (0, -width % 16), (0, 0))
    pixels = jnp.pad(_to_bytes((image + 1) * 127.5), padding, mode="edge")
    ycbcr = jnp.round(jnp.einsum("bhwc,yc->bhwy", pixels, jnp.array(TO_YCBCR)))  # Cb, Cr about 0
    luma = _code(ycbcr[..., :1] - 128, _table(LUMINANCE, quality)) + 128
    chroma = reduce(ycbcr[..., 1:], "b (h 2) (w 2) c -> b h w c", "mean")
    chroma = _code(jnp.round(chroma), _table(CHROMINANCE, quality))
    chroma = jax.image.resize(chroma, (*luma.shape[:3], 2), "linear")
    decoded = jnp.concatenate([luma, chroma], axis=-1)
    decoded = _to_bytes(jnp.einsum("bhwy,cy->bhwc", decoded, jnp.array(TO_RGB)))
    return decoded[:, :height, :width] / 127.5 - 1


def _code(plane: Array, table: Array) -> Array:
    """[B, H, W, C] with the DCT of its 8×8 blocks rounded to multiples of the table [B, 8, 8]."""
    dct = jnp.array(_dct_matrix(), jnp.float32)
    blocks = rearrange(plane, "b (h p) (w q) c -> b h w c p q", p=8, q=8)
    steps = table[:, None, None, None]
    coefficients = jnp.round(jnp.einsum("up,vq,bhwcpq->bhwcuv", dct, dct, blocks) / steps) * steps
    blocks = jnp.einsum("up,vq,bhwcuv->bhwcpq", dct, dct, coefficients)
    plane = rearrange(blocks, "b h w c p q -> b (h p) (w q) c")
    return jnp.clip(jnp.round(plane), -128, 127)


def _table(base: tuple, quality: Array) -> Array:
    """The table of quantisation steps [B, 8, 8] for qualities [B]."""
    percent = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    return jnp.clip(jnp.floor((jnp.array(base, jnp.float32)[None] * percent + 50) / 100), 1, 255)


def _to_bytes(pixels: Array) -> Array:
    return jnp.clip(jnp.round(pixels), 0, 255)
