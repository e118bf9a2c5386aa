import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.stages.images import enlarge, random_crops, shrink, to_model_range


def test_shrinking_takes_rounded_means_over_blocks():
    image = np.zeros((1, 4, 4, 1), np.uint8)
    image[0, :2, :2, 0] = [[0, 1], [2, 4]]  # mean 1.75
    image[0, 2:, 2:, 0] = 255
    np.testing.assert_array_equal(shrink(jnp.asarray(image), 2)[0, ..., 0], [[2, 0], [0, 255]])
    assert shrink(jnp.asarray(image), 4).dtype == jnp.uint8


def test_sizes_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="6×6 pixels can't be cut into 4×4"):
        shrink(jnp.zeros((1, 6, 6, 3), jnp.uint8), 4)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
def test_enlarging_is_pillows(method):
    plane = np.random.default_rng(0).uniform(-1, 1, (6, 5)).astype(np.float32)
    resampling = getattr(Image.Resampling, method.upper())
    expected = np.asarray(Image.fromarray(plane).resize((15, 18), resampling))
    np.testing.assert_allclose(
        enlarge(jnp.asarray(plane)[None, ..., None], 3, method)[0, ..., 0], expected, atol=1e-5
    )


def test_an_unknown_resize_is_named():
    with pytest.raises(ValueError, match='no resize "lanczos"; known are nearest'):
        enlarge(jnp.zeros((1, 2, 2, 3)), 2, "lanczos")


def test_crops_show_one_place_in_all_images_and_every_place_on_the_grid():
    y, x = jnp.meshgrid(jnp.arange(12), jnp.arange(8), indexing="ij")
    where = jnp.broadcast_to(jnp.stack([y, x], axis=-1), (400, 12, 8, 2))
    a, b = random_crops(jax.random.key(0), (where, -where), 4, 2)
    assert a.shape == (400, 4, 4, 2)
    np.testing.assert_array_equal(a, -b)
    corners = np.asarray(a[:, 0, 0])
    np.testing.assert_array_equal(a - corners[:, None, None, :], where[:, :4, :4])
    assert {tuple(c) for c in corners} == {(i, j) for i in (0, 2, 4, 6, 8) for j in (0, 2, 4)}


def test_bytes_fill_the_range():
    np.testing.assert_allclose(to_model_range(jnp.array([0, 255], jnp.uint8)), [-1, 1])
