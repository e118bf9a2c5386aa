"""One step of a chain of T: q(x_s | x_t, x_0) at t = n / T and s = t − 1 / T, and its mean μ̃."""

from typing import NamedTuple

import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, per_sample
from dalle_jax.diffusion.samplers.ancestral import posterior
from dalle_jax.diffusion.schedules import Schedule


class Step(NamedTuple):
    """The coefficients of x_t and x_0 in μ̃, and the variances that a model may take; all [B].

    `small` is β̃, at n = 1, where that is 0, β̃ of n = 2 (DDPM's and Improved DDPM's code); `large`
    is β; `first` says where n = 1.
    """

    of_x: Array
    of_x0: Array
    small: Array
    large: Array
    first: Array


def step_of(t: Array, schedule: Schedule, num_timesteps: int) -> Step:
    """The step that ends at times t [B], steps n / num_timesteps of the chain."""
    s = jnp.round(t * num_timesteps - 1) / num_timesteps
    first = s <= 0

    def levels(time, clean):
        alpha = jnp.where(clean, 1.0, schedule.alpha(time))
        return alpha, jnp.where(clean, 0.0, schedule.sigma(time))

    of_x, of_x0, small, large = posterior(*levels(t, False), *levels(s, first))
    second, one = (levels(jnp.asarray(n / num_timesteps, t.dtype), False) for n in (2, 1))
    return Step(of_x, of_x0, jnp.where(first, posterior(*second, *one)[2], small), large, first)


def mean_of(x_0: Array, x_t: Array, step: Step) -> Array:
    """μ̃(x_t, x_0) [B, ...] (DDPM, equation 7)."""
    return per_sample(step.of_x, x_t) * x_t + per_sample(step.of_x0, x_t) * x_0


def x0_of_mean(mean: Array, x_t: Array, step: Step) -> Array:
    """The x_0 [B, ...] whose μ̃ is `mean`: the inverse of `mean_of`."""
    return (mean - per_sample(step.of_x, x_t) * x_t) / per_sample(step.of_x0, x_t)
