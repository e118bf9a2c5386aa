"""Types and array helpers that all files of this package share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array | np.ndarray


class Denoised(NamedTuple):
    """What a denoiser with learned variance returns in place of the plain x0 array.

    `variance_fraction` in [0, 1] interpolates log variance between the lower bound (0) and the
    upper bound (1) of a DDPM step (Improved DDPM, equation 15).
    """

    x0: Array  # [B, ...]
    variance_fraction: Array  # [B, ...]


Denoiser = Callable[[Array, Array], Any]  # (x_t [B, ...], t [B]) -> x0_hat [B, ...] or Denoised


def x0_of(output: Array | Denoised) -> Array:
    """The x0 estimate in a denoiser's output."""
    return output.x0 if isinstance(output, Denoised) else output


def with_x0(output: Array | Denoised, x0: Array) -> Array | Denoised:
    """A denoiser's output with another x0 estimate and, if it has one, the same variance."""
    return output._replace(x0=x0) if isinstance(output, Denoised) else x0


def per_sample(a: Array, x: Array) -> Array:
    """Per-sample numbers a [B] reshaped to broadcast against x [B, ...]; a scalar is unchanged."""
    a = jnp.asarray(a)
    return jnp.expand_dims(a, tuple(range(1, x.ndim))) if a.ndim else a


def at_least_float32(x: Array) -> jax.Array:
    """x as a jax array of float32, or of float64 if it is that already."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def namespace(x: Array | float):
    """jax.numpy for jax arrays, numpy (float64 on the host) for everything else."""
    return jnp if isinstance(x, jax.Array) else np


def logistic(x: Array | float) -> Array:
    """1 / (1 + e^−x): a jax array for a jax array, float64 on the host for everything else."""
    if isinstance(x, jax.Array):
        return jax.nn.sigmoid(x)
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def safe_log(x: Array | float) -> Array:
    """log x, which is −∞ at 0 without a warning."""
    with np.errstate(divide="ignore"):
        return namespace(x).log(x)
