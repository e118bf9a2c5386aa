"""One step of a chain of T: q(x_s | x_t, x_0) at t = n / T and s = t − 1 / T, and its mean μ̃."""

from typing import NamedTuple

import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, per_sample
from dalle_jax.diffusion.samplers.ancestral import posterior
from dalle_jax.diffusion.schedules import Schedule


class Step(NamedTuple):
    """The coefficients of x_t and x_0 in μ̃, and the two fixed variances of a model; all [B].

    `small` is β̃; at n = 1, where β̃ is 0, it is β̃ of n = 2 (DDPM's and Improved DDPM's code).
    `large` is β. `first` is True where n = 1.
    """

    x_coefficient: Array
    x0_coefficient: Array
    small: Array
    large: Array
    first: Array


def chain_step(t: Array, schedule: Schedule, num_timesteps: int) -> Step:
    """The step from t = n / num_timesteps [B] to t − 1 / num_timesteps."""
    s = jnp.round(t * num_timesteps - 1) / num_timesteps
    first = s <= 0

    def levels(time, clean):
        alpha = jnp.where(clean, 1.0, schedule.alpha(time))
        return alpha, jnp.where(clean, 0.0, schedule.sigma(time))

    x_coefficient, x0_coefficient, small, large = posterior(*levels(t, False), *levels(s, first))
    second, one = (levels(jnp.asarray(n / num_timesteps, t.dtype), False) for n in (2, 1))
    return Step(
        x_coefficient,
        x0_coefficient,
        jnp.where(first, posterior(*second, *one)[2], small),
        large,
        first,
    )


def posterior_mean(x_0: Array, x_t: Array, step: Step) -> Array:
    """μ̃(x_t, x_0) [B, ...] (DDPM, equation 7)."""
    return per_sample(step.x_coefficient, x_t) * x_t + per_sample(step.x0_coefficient, x_t) * x_0


def x0_from_posterior_mean(mean: Array, x_t: Array, step: Step) -> Array:
    """The x_0 [B, ...] whose μ̃ is `mean`: the inverse of `posterior_mean`."""
    return (mean - per_sample(step.x_coefficient, x_t) * x_t) / per_sample(step.x0_coefficient, x_t)
