"""The training loss: a squared error on what the network predicts, weighted by noise level."""

import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, per_sample
from dalle_jax.diffusion.schedules import Schedule


def add_noise(x_0: Array, eps: Array, schedule: Schedule, t: Array) -> Array:
    """x_t = alpha(t) x_0 + sigma(t) eps [B, ...] at the times t [B] (DDPM, equation 4)."""
    return per_sample(schedule.alpha(t), x_0) * x_0 + per_sample(schedule.sigma(t), x_0) * eps


def simple(prediction: Array, target: Array) -> Array:
    """Mean squared error of each sample [B] in float32 (L_simple: DDPM, equation 14)."""
    error = jnp.square(prediction.astype(jnp.float32) - target.astype(jnp.float32))
    return jnp.mean(error, axis=tuple(range(1, error.ndim)))
