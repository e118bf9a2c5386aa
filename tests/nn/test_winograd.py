import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.nn.winograd import convolution, winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")


def direct(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT)


def inputs(size=(2, 8, 12), channels=(5, 3)):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(*size, channels[0])), rng.normal(size=(3, 3, *channels))
    return jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(rng.normal(size=(*size, channels[1])))


@pytest.mark.parametrize("size", [(2, 8, 12), (1, 4, 4)])
def test_it_is_the_convolution_and_so_is_its_gradient(size):
    def both(function, x, kernel, dy):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(dy)

    with jax.enable_x64(True):
        given = inputs(size)
        exact = both(direct, *given)
        for found, expected in zip(both(winograd, *given), exact):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        tangent = jax.jvp(winograd, given[:2], given[:2])[1]
        np.testing.assert_allclose(tangent, 2 * exact[0], rtol=1e-5, atol=1e-5)


def test_in_float32_it_is_off_by_1e_5_of_its_deviation():
    x, kernel, _ = (a.astype(jnp.float32) for a in inputs((4, 16, 16), (96, 48)))
    with jax.enable_x64(True):
        exact = np.asarray(direct(x.astype(jnp.float64), kernel.astype(jnp.float64)))
    error = np.abs(np.asarray(winograd(x, kernel)) - exact)
    assert error.max() < 5e-5 * exact.std() and error.mean() < 1e-5 * exact.std()


def convolutions_in(layer, x):
    params = jax.eval_shape(layer.init, jax.random.key(0), x)
    text = str(jax.make_jaxpr(layer.apply)(params, x))
    return text.count("conv_general_dilated")


def test_layers_take_it_for_what_it_is_made_for_alone():
    layer = functools.partial(nn.Conv, 32, conv_general_dilated=convolution)
    x = jnp.zeros((1, 8, 8, 32))
    assert convolutions_in(layer((3, 3)), x) == 0
    for others in (
        (layer((1, 1)), x),
        (layer((3, 3), (2, 2)), x),
        (layer((3, 3), padding="VALID"), x),
        (layer((3, 3), kernel_dilation=2), x),
        (layer((3, 3), feature_group_count=2), x),
        (layer((3, 3), dtype=jnp.bfloat16), x),
        (layer((3, 3)), x[:, :6]),
        (layer((3, 3)), x[..., :16]),
    ):
        assert convolutions_in(*others) == 1
