"""The codec's losses against libjpeg's, which Pillow wraps."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.stages.jpeg import compress


def picture(height, width):
    """Smooth colours, an edge and some noise, uint8 [H, W, 3]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.stack([255 * x, 120 + 100 * np.sin(9 * y), 255 * (x + y > 0.8)], axis=-1)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def pillows(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file), np.float64)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (20, 38)])
def test_it_shows_what_libjpeg_shows(size):
    image, qualities = picture(*size), (10, 30, 50, 75, 95)
    batch = jnp.asarray(np.stack([image] * len(qualities)), jnp.float32) / 127.5 - 1
    ours = (compress(batch, jnp.array(qualities, jnp.float32)) + 1) * 127.5
    for decoded, quality in zip(np.asarray(ours, np.float64), qualities):
        theirs = pillows(image, quality)
        lost = np.sqrt(np.mean((theirs - image) ** 2))
        assert lost > 10  # sharp colours lose much to the chroma of half the side
        # Of 255 levels; what is left is rounding, some of which libjpeg does in between.
        assert np.sqrt(np.mean((decoded - theirs) ** 2)) < 1.5, quality


def test_it_loses_more_the_lower_the_quality():
    image = jnp.asarray(picture(32, 32), jnp.float32)[None] / 127.5 - 1
    error = lambda q: float(jnp.mean((compress(image, jnp.array([q])) - image) ** 2))
    assert error(10.0) > error(40.0) > error(90.0) > 0


def test_quality_is_each_images_own():
    image = jnp.asarray(picture(16, 16), jnp.float32)[None] / 127.5 - 1
    both = jax.jit(compress)(jnp.concatenate([image, image]), jnp.array([20.0, 90.0]))
    for one, quality in zip(both, (20.0, 90.0)):
        np.testing.assert_allclose(one, compress(image, jnp.array([quality]))[0], atol=1e-6)
