"""The loss of JPEG compression, without the file; jittable, not differentiable.

All lossy parts of the baseline codec (ITU-T T.81): YCbCr with chroma of half the side, 8×8 DCT, and
the tables of its annex K scaled by quality as in the Independent JPEG Group's library. Entropy
coding, which is lossless, is left out.
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

# JFIF: rows Y, Cb, Cr of columns R, G, B, and back.
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _dct_matrix() -> np.ndarray:
    """The orthonormal DCT-II: rows are frequencies, columns pixels [8, 8]."""
    u, x = np.arange(8)[:, None], np.arange(8)[None, :]
    scale = np.where(u == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))
    return scale * np.cos((2 * x + 1) * u * np.pi / 16)


def compress(image: Array, quality: Array) -> Array:
    """Images float32 [B, H, W, 3] in [−1, 1] after JPEG compression of quality [B] (1 … 100)."""
    batch, height, width, _ = image.shape
    pixels = _to_bytes((image + 1) * 127.5)
    # Cb and Cr are about 0 here, not about 128.
    ycbcr = jnp.round(jnp.einsum("bhwc,yc->bhwy", pixels, jnp.array(TO_YCBCR)))
    luma = _code(ycbcr[..., :1] - 128, _table(LUMINANCE, quality)) + 128
    # libjpeg pads to whole blocks horizontally before it halves the picture, vertically after.
    chroma = _halve(_filled_up(ycbcr[..., 1:], 2, 16))
    chroma = _code(chroma, _table(CHROMINANCE, quality))
    chroma = chroma[:, :, : (width + 1) // 2]  # a decoder ignores the padding
    chroma = jax.image.resize(
        chroma, (batch, 2 * chroma.shape[1], 2 * chroma.shape[2], 2), "linear"
    )
    decoded = jnp.concatenate([luma, chroma[:, :height, :width]], axis=-1)
    return _to_bytes(jnp.einsum("bhwy,cy->bhwc", decoded, jnp.array(TO_RGB))) / 127.5 - 1


def _halve(plane: Array) -> Array:
    """Means over 2×2 pixels, ties rounded down and up alternately as in libjpeg."""
    total = reduce(plane, "b (h 2) (w 2) c -> b h w c", "sum")
    bias = 1.0 + jnp.arange(total.shape[2]) % 2
    return jnp.floor((total + bias[None, None, :, None]) / 4)


def _filled_up(plane: Array, rows: int, columns: int) -> Array:
    """[B, H, W, C] with edges extended to multiples of `rows` and `columns`."""
    _, height, width, _ = plane.shape
    return jnp.pad(plane, ((0, 0), (0, -height % rows), (0, -width % columns), (0, 0)), mode="edge")


def _code(plane: Array, table: Array) -> Array:
    """[B, H, W, C] with the DCT of its 8×8 blocks rounded to multiples of the table [B, 8, 8]."""
    _, height, width, _ = plane.shape
    dct = jnp.array(_dct_matrix(), jnp.float32)
    blocks = rearrange(_filled_up(plane, 8, 8), "b (h p) (w q) c -> b h w c p q", p=8, q=8)
    steps = table[:, None, None, None]
    coefficients = jnp.round(jnp.einsum("up,vq,bhwcpq->bhwcuv", dct, dct, blocks) / steps) * steps
    blocks = jnp.einsum("up,vq,bhwcuv->bhwcpq", dct, dct, coefficients)
    plane = rearrange(blocks, "b h w c p q -> b (h p) (w q) c")[:, :height, :width]
    return jnp.clip(jnp.round(plane), -128, 127)


def _table(base: tuple, quality: Array) -> Array:
    """Quantization steps [B, 8, 8] for qualities [B]."""
    percent = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)[:, None, None]
    return jnp.clip(jnp.floor((jnp.array(base, jnp.float32)[None] * percent + 50) / 100), 1, 255)


def _to_bytes(pixels: Array) -> Array:
    return jnp.clip(jnp.round(pixels), 0, 255)
