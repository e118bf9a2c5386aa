"""Blocks in a loop: what the same blocks one after the other compute, in a program of one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.nn.remat import rematerialized
from dalle_jax.nn.transformer import Transformer
from dalle_jax.training.optim import make_optimizer
from tests.random_params import random_params
from tests.stacked_params import stacked

X = jax.random.normal(jax.random.key(0), (2, 3, 8))
CONTEXT = jax.random.normal(jax.random.key(1), (2, 2, 6))


def transformer(depth=3, **options):
    return Transformer(depth, num_heads=2, causal=True, **options)


@functools.cache
def params():
    return random_params(transformer().init, jax.random.key(2), X, CONTEXT)["params"]


def step(network, params):
    """The output, the gradient of its mean square, and the update that is made of it."""
    optimizer = make_optimizer("muon", learning_rate=0.1, steps=1, weight_decay=0.1, clip_norm=1.0)

    x, context = X.astype(network.dtype), CONTEXT.astype(network.dtype)

    def loss(params):
        y = network.apply({"params": params}, x, context)
        return jnp.mean(jnp.square(y - 1)), y

    gradient, y = jax.grad(loss, has_aux=True)(params)
    return y, gradient, optimizer.update(gradient, optimizer.init(params), params)[0]


def step_in_float64(params, **options):
    """`step` of such numbers that no processor's way of adding decides what is the same."""
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    return jax.jit(functools.partial(step, transformer(dtype=jnp.float64, **options)))(wide)


@functools.cache
def unrolled_step():
    y, *trees = step_in_float64(params())
    return y, *map(stacked, trees)


@pytest.mark.parametrize("policy", ["none", "products", "blocks"])
def test_output_gradient_and_update_are_those_of_blocks_one_by_one(policy):
    with jax.enable_x64(True), rematerialized(policy):
        found = step_in_float64(stacked(params()), scan_blocks=True)
        expected = unrolled_step()
    # Softmax and norms are float32, and Muon multiplies small singular values by up to 485.
    check = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    jax.tree.map(check, found, expected)


def test_it_computes_in_bfloat16_as_blocks_one_by_one_do():
    x, context = X.astype(jnp.bfloat16), CONTEXT.astype(jnp.bfloat16)
    apply = lambda params, **how: jax.jit(transformer(dtype=jnp.bfloat16, **how).apply)(
        {"params": params}, x, context
    )
    found, expected = apply(stacked(params()), scan_blocks=True), apply(params())
    assert found.dtype == jnp.bfloat16
    found, expected = found.astype(jnp.float32), expected.astype(jnp.float32)
    np.testing.assert_allclose(found, expected, atol=0.05 * float(jnp.abs(expected).max()))


def test_each_block_starts_from_numbers_of_its_own_on_the_scale_of_its_inputs():
    network = Transformer(3, num_heads=4, scan_blocks=True)
    init = jax.jit(network.init, compiler_options={"xla_backend_optimization_level": 0})
    blocks = init(jax.random.key(0), jnp.zeros((1, 1, 64)))["params"]["blocks"]
    kernels = np.asarray(blocks["mlp_in"]["kernel"])
    assert kernels.shape == (3, 64, 256)
    np.testing.assert_allclose(kernels.std(axis=(1, 2)), 1 / np.sqrt(64), rtol=0.03)
    correlations = np.corrcoef(kernels.reshape(3, -1))
    assert np.abs(correlations - np.eye(3)).max() < 0.05


def test_the_program_does_not_grow_with_depth():
    def size(depth, scan_blocks):
        network = transformer(depth, scan_blocks=scan_blocks)
        shapes = jax.eval_shape(network.init, jax.random.key(0), X)
        slope = jax.grad(lambda params: jnp.mean(network.apply(params, X)))
        return len(jax.jit(slope).lower(shapes).as_text())

    assert size(8, True) < 1.02 * size(2, True)
    assert size(8, False) > 2.5 * size(2, False)
