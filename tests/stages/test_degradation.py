import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from dalle_jax.stages import degradation
from dalle_jax.stages.degradation import (
    DEGRADATIONS,
    blur,
    bsr,
    gaussian_blur,
    gaussian_kernels,
    resample,
)

BSR = {
    "kernel_size": 5,
    "sigma": (0.1, 1.0),
    "scale": (0.5, 1.0),
    "noise": (2.0, 25.0),
    "quality": (30.0, 95.0),
}


def images(n, height=16, width=16):
    return jax.random.uniform(jax.random.key(7), (n, height, width, 3), minval=-1)


def test_the_papers_kernel():
    # e^(−1 / (2 · 0.6²)) = 0.24935; the row sums to 1.
    row = np.array([0.24935, 1.0, 0.24935]) / 1.4987
    kernel = gaussian_kernels(3, *(jnp.array([s]) for s in (0.6, 0.6, 0.0)))[0]
    np.testing.assert_allclose(kernel, np.outer(row, row), rtol=1e-4)


def test_kernels_sum_to_one_and_have_their_deviations_along_their_axes():
    u, v, angle = jnp.array([0.05, 1.5, 2.0]), jnp.array([0.05, 1.5, 0.8]), jnp.array([0, 1, 0.7])
    kernels = np.asarray(gaussian_kernels(17, u, v, angle), np.float64)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, rtol=1e-6)
    assert kernels[0, 8, 8] > 0.999  # next to no deviation is no blur
    offset = np.arange(17) - 8
    for kernel, a, b, turn in list(zip(kernels, u, v, angle))[1:]:
        xx = (kernel * offset[None, :] ** 2).sum()
        yy = (kernel * offset[:, None] ** 2).sum()
        xy = (kernel * offset[:, None] * offset[None, :]).sum()
        c, s = np.cos(float(turn)), np.sin(float(turn))
        expected = [
            c * c * a * a + s * s * b * b,
            s * s * a * a + c * c * b * b,
            c * s * (a * a - b * b),
        ]
        np.testing.assert_allclose([xx, yy, xy], expected, rtol=0.01, atol=1e-3)


def test_blur_is_scipys_correlation():
    kernels = gaussian_kernels(5, jnp.array([0.5, 1.2]), jnp.array([1.0, 0.4]), jnp.array([0.3, 2]))
    x = images(2, 9, 7)
    blurred = blur(x, kernels)
    for b in range(2):
        for c in range(3):
            expected = ndimage.correlate(x[b, ..., c], kernels[b], mode="nearest")
            np.testing.assert_allclose(blurred[b, ..., c], expected, atol=1e-5)


def test_a_share_of_the_images_is_blurred():
    x = images(400, 6, 6)
    settings = {"kernel_size": 3, "sigma": (0.4, 0.6)}
    blurred = gaussian_blur(jax.random.key(0), x, share=0.5, **settings)
    moved = np.abs(blurred - x).max(axis=(1, 2, 3)) > 1e-3
    assert abs(moved.mean() - 0.5) < 4 * np.sqrt(0.25 / 400)
    np.testing.assert_array_equal(gaussian_blur(jax.random.key(0), x, share=0.0, **settings), x)
    assert (
        np.abs(gaussian_blur(jax.random.key(0), x, share=1.0, **settings) - x).max((1, 2, 3)) > 0
    ).all()


@pytest.mark.parametrize("kernel, method", [(1, "linear"), (2, "cubic")])
@pytest.mark.parametrize("source, target", [(1.0, 0.5), (1.0, 0.75), (0.5, 1.0), (0.75, 0.5)])
def test_resampling_inside_fixed_shapes_is_jaxs_resize(kernel, method, source, target):
    x = images(2, 16, 8)
    ask = lambda a, dtype=jnp.float32: jnp.full((2,), a, dtype)
    result = resample(x, ask(source), ask(target), ask(kernel, jnp.int32))
    held, wanted = ((int(16 * s), int(8 * s)) for s in (source, target))
    picture = x[:, : held[0], : held[1]]
    expected = jax.image.resize(picture, (2, *wanted, 3), method, antialias=True)
    np.testing.assert_allclose(result[:, : wanted[0], : wanted[1]], expected, atol=2e-5)


def test_the_box_takes_means_down_and_the_nearest_up():
    x, one, half = images(1, 8, 8), jnp.ones(1), jnp.full(1, 0.5)
    box = jnp.zeros(1, jnp.int32)
    down = resample(x, one, half, box)[:, :4, :4]
    np.testing.assert_allclose(down, x.reshape(1, 4, 2, 4, 2, 3).mean((2, 4)), atol=1e-6)
    up = resample(x, half, one, box)
    np.testing.assert_allclose(up, x[:, :4, :4].repeat(2, 1).repeat(2, 2), atol=1e-6)


def test_noise_has_its_deviation_and_three_kinds():
    gray = jnp.zeros((300, 12, 12, 3))
    noise = degradation.colored_noise(jax.random.key(0), gray, level=(10.0, 10.0))
    np.testing.assert_allclose(noise.std() * 127.5, 10, rtol=0.03)
    correlation = np.array([np.corrcoef(n.reshape(-1, 3).T)[0, 1] for n in np.asarray(noise)])
    assert abs((correlation > 0.999).mean() - 0.4) < 0.12  # all channels alike
    assert abs((np.abs(correlation) < 0.25).mean() - 0.4 - 0.2 * 0.16) < 0.15  # each its own


def test_bsr_degrades_each_image_in_its_own_way_and_keeps_shape_and_range():
    x = images(4)
    degrade = jax.jit(lambda key: bsr(key, x, **BSR))
    one, same, other = (degrade(jax.random.key(seed)) for seed in (0, 0, 1))
    assert one.shape == x.shape and one.dtype == jnp.float32
    assert jnp.abs(one).max() <= 1
    np.testing.assert_array_equal(one, same)
    assert jnp.abs(one - other).max() > 0.1
    assert (np.abs(one - x).max(axis=(1, 2, 3)) > 0.05).all()


def test_bsr_without_noise_leaves_one_colour_as_it_is():
    x = jnp.broadcast_to(jnp.array([0.2, -0.5, 0.7]), (4, 16, 16, 3))
    quiet = {**BSR, "noise": (0.0, 0.0), "quality": (95.0, 95.0)}
    degrade = jax.jit(lambda key: bsr(key, x, **quiet))
    for seed in range(4):
        np.testing.assert_allclose(degrade(jax.random.key(seed)), x, atol=5 / 127.5)


def test_bsr_has_a_random_order():
    # Noise before the resize is smoothed, noise after it is not: neighbours correlate or do not.
    sharp = {"kernel_size": 1, "sigma": (1.0, 1.0), "quality": (100.0, 100.0)}
    gray = jnp.zeros((8, 16, 16, 3))
    degrade = jax.jit(lambda key: bsr(key, gray, scale=(0.5, 0.5), noise=(25.0, 25.0), **sharp))

    def smoothed(seed):
        luma = np.asarray(degrade(jax.random.key(seed))) @ np.array([0.299, 0.587, 0.114])
        correlation = np.mean(luma[:, 1:] * luma[:, :-1]) / np.mean(luma**2)
        assert correlation > 0.3 or abs(correlation) < 0.1
        return correlation > 0.3

    assert 6 <= sum(smoothed(seed) for seed in range(24)) <= 18


def test_none_changes_nothing_and_unknown_names_are_told():
    x = images(2)
    np.testing.assert_array_equal(DEGRADATIONS["none"](jax.random.key(0), x), x)
    with pytest.raises(ValueError, match='no degradation "blurr"; known are none, blur, bsr'):
        degradation.degradation("blurr")
