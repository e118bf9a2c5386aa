import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.stages.clip import sharpness_aware

A = np.diag([1.0, 4.0, 9.0])


def quadratic(params, shift, *, train):
    w = jnp.concatenate([params["a"], params["b"]]) - shift
    return w @ jnp.asarray(A, jnp.float32) @ w / 2, {"trained": jnp.float32(train)}


PARAMS = {"a": jnp.array([1.0]), "b": jnp.array([0.5, -0.25])}


def test_the_gradient_is_that_of_the_steepest_point_nearby():
    (value, metrics), gradient = sharpness_aware(quadratic, 0.3)(PARAMS, 0.1, train=True)
    w = np.array([1.0, 0.5, -0.25]) - 0.1
    slope = A @ w
    there = w + 0.3 * slope / np.linalg.norm(slope)
    np.testing.assert_allclose(np.concatenate([gradient["a"], gradient["b"]]), A @ there, rtol=1e-5)
    np.testing.assert_allclose(value, w @ A @ w / 2, rtol=1e-5)
    sharpness = there @ A @ there / 2 - w @ A @ w / 2
    np.testing.assert_allclose(metrics["sharpness"], sharpness, rtol=1e-4)
    assert metrics["trained"] == 1


def test_radius_0_is_the_plain_gradient():
    expected = jax.value_and_grad(quadratic, has_aux=True)(PARAMS, 0.1, train=True)
    result = sharpness_aware(quadratic, 0.0)(PARAMS, 0.1, train=True)
    jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_no_slope_gives_no_nan():
    flat = jax.tree.map(lambda x: 0 * x + 0.1, PARAMS)
    (_, metrics), gradient = sharpness_aware(quadratic, 0.3)(flat, 0.1, train=True)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradient))
    assert metrics["sharpness"] == 0
