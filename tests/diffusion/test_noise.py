"""Noise belongs to a sample, whatever the precision and the batch."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dalle_jax
from dalle_jax.diffusion.noise import initial_noise, normal_like

KEY = jax.random.key(3)
INDEX = jnp.array([5, 0, 2**31, 7], jnp.uint32)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_noise_of_a_lower_precision_is_that_of_float32_rounded(dtype):
    fine = initial_noise(KEY, INDEX, (20, 3))
    coarse = initial_noise(KEY, INDEX, (20, 3), dtype)
    assert fine.dtype == jnp.float32 and coarse.dtype == dtype
    np.testing.assert_array_equal(coarse, fine.astype(dtype))
    x = jnp.zeros((4, 20, 3), dtype)
    np.testing.assert_array_equal(
        normal_like(KEY, INDEX, 9, x), normal_like(KEY, INDEX, 9, jnp.zeros(x.shape)).astype(dtype)
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_tails_of_noise_are_there_in_every_precision(dtype):
    noise = np.asarray(initial_noise(KEY, jnp.arange(64), (4096,), dtype), np.float64)
    n = noise.size
    assert abs(noise.mean()) < 4 / np.sqrt(n) and abs(noise.var() - 1) < 4 * np.sqrt(2 / n)
    for level, share in ((3.0, 2.6998e-3), (4.0, 6.3343e-5)):
        found = np.mean(np.abs(noise) > level)
        # bfloat16 rounds what is within 2⁻⁷ of a level to it
        assert share / 1.5 < found < share * 1.5


def test_no_noise_is_drawn_in_the_precision_of_a_network():
    """A dtype is given to `jax.random.normal` only where it is float32 at least."""
    for path in Path(dalle_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or "random.normal" not in ast.unparse(node.func):
                continue
            given = [*node.args[2:], *(k.value for k in node.keywords if k.arg == "dtype")]
            matrix = path.parts[-2:] == ("cost", "bench.py")  # to multiply, not noise
            assert matrix or all(ast.unparse(g) == "dtype" for g in given), path
