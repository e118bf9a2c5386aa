"""Gaussian noise that depends on a sample's index, not on its position in a batch."""

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array

INITIAL_STEP = 0  # the step of the initial noise; row i of a sampler uses step i + 1


def normal_like(key: Array, sample_index: Array, step: Array | int, x: Array) -> Array:
    """Standard normal noise of x's shape [B, ...], one draw per (key, sample_index[b], step).

    `key` is one for all samples, or one for each [B]. A sample gets the same noise in any batch, at
    any position and on any device. The noise is drawn in float32 at least and rounded to x's dtype,
    because drawing in bfloat16 yields different noise with only a few hundred distinct values.
    """
    dtype = jnp.promote_types(x.dtype, jnp.float32)

    def draw(key, index):
        key_of_sample = jax.random.fold_in(jax.random.fold_in(key, index), step)
        return jax.random.normal(key_of_sample, x.shape[1:], dtype).astype(x.dtype)

    return jax.vmap(draw, in_axes=(0 if key.ndim else None, 0))(key, sample_index)


def fold(key: Array, number: Array | int) -> Array:
    """`jax.random.fold_in` of one key, or of each key [B]."""
    if key.ndim == 0:
        return jax.random.fold_in(key, number)
    return jax.vmap(lambda one: jax.random.fold_in(one, number))(key)


def initial_noise(
    key: Array, sample_index: Array, shape: tuple[int, ...], dtype=jnp.float32
) -> Array:
    """The initial noise [B, *shape] of each sample; multiply it by sigma(1) where that is not 1."""
    sample_index = jnp.asarray(sample_index)
    like = jax.ShapeDtypeStruct((sample_index.shape[0], *shape), dtype)
    return normal_like(key, sample_index, INITIAL_STEP, like)
