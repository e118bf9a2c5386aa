"""Captions as tokens [B, L]: the empty one, and dropping some in training."""

import jax
import jax.numpy as jnp
from jax import Array

END_OF_TEXT = 1


def empty_captions(tokens: Array) -> Array:
    """Empty captions in the shape of tokens [B, L]: end of text, then padding."""
    return jnp.zeros_like(tokens).at[:, 0].set(END_OF_TEXT)


def drop_captions(key: Array, tokens: Array, share: float) -> Array:
    """tokens [B, L] with each caption replaced by the empty one with probability `share`."""
    dropped = jax.random.uniform(key, (tokens.shape[0], 1)) < share
    return jnp.where(dropped, empty_captions(tokens), tokens)
