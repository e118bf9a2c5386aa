import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.nn.fusion import computed_once


def readers(x, y, once):
    """What reads x − y as the layers of a network read a sum: moments, affine map and skip."""
    total = computed_once(x - y) if once else x - y
    return total * total.mean((1, 2), keepdims=True), total + 2 * y


@pytest.fixture
def arrays():
    return jax.random.normal(jax.random.key(0), (2, 2, 8, 8, 16))


def times_computed(once, arrays):
    """How often the compiled program has x − y."""
    compiled = jax.jit(functools.partial(readers, once=once)).lower(*arrays).compile()
    return compiled.as_text().count(" subtract(")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it is for XLA's fusion on a CPU")
def test_what_several_layers_read_is_computed_once(arrays):
    assert (times_computed(False, arrays), times_computed(True, arrays)) == (3, 1)


def test_neither_value_nor_gradient_changes(arrays):
    def loss(x, y, once):
        return sum(jnp.sum(jnp.sin(part)) for part in readers(x, y, once))

    for function in (loss, jax.grad(loss, argnums=(0, 1)), jax.checkpoint(loss, static_argnums=2)):
        plain, walled = (jax.jit(function, static_argnums=2)(*arrays, once) for once in (0, 1))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), plain, walled)


def test_it_maps_over_an_axis(arrays):
    x = arrays[0]
    np.testing.assert_array_equal(jax.vmap(computed_once)(x), x)
