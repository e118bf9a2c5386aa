"""Prediction targets, and conversions between predictions and x0.

With x_t = alpha x_0 + sigma eps the targets are

    eps   eps                                    DDPM, equation 14
    x0    x_0
    v     alpha eps − sigma x_0                  Salimans & Ho 2022 (2202.00512), §4
    flow  eps − x_0                              rectified flow (2209.03003), at alpha = 1 − sigma
    score −eps / sigma                           ∇ log p(x_t | x_0)
    edm   (x_0 − c_skip x_t / alpha) / c_out     EDM, equation 8, with σ = sigma / alpha

Each determines the others given x_t: `to_x0` and `from_x0` convert any of them into any other.
alpha and sigma are [B] (or scalars), predictions and x_t are [B, ...].
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, Denoised, Denoiser, per_sample
from dalle_jax.diffusion.schedules import Schedule

PREDICTIONS = ("eps", "x0", "v", "flow", "score", "edm")
SIGMA_DATA = 0.5  # EDM, table 1


class Preconditioning(NamedTuple):
    """EDM's coefficients, equation 7 and table 1: D(x; σ) = c_skip x + c_out F(c_in x; c_noise)."""

    c_skip: Array
    c_out: Array
    c_in: Array
    c_noise: Array


def edm_preconditioning(sigma: Array, sigma_data: float = SIGMA_DATA) -> Preconditioning:
    """The preconditioning at noise level σ = sigma / alpha for data of deviation sigma_data."""
    total = sigma**2 + sigma_data**2
    return Preconditioning(
        c_skip=sigma_data**2 / total,
        c_out=sigma * sigma_data / jnp.sqrt(total),
        c_in=1 / jnp.sqrt(total),
        c_noise=jnp.log(sigma) / 4,
    )


def to_x0(
    prediction: Array,
    x_t: Array,
    alpha: Array,
    sigma: Array,
    kind: str,
    sigma_data: float = SIGMA_DATA,
) -> Array:
    """The x_0 [B, ...] that corresponds to a prediction of the given kind at x_t."""
    alpha, sigma = per_sample(alpha, x_t), per_sample(sigma, x_t)
    match kind:
        case "eps":
            return (x_t - sigma * prediction) / alpha
        case "x0":
            return prediction
        case "v":
            return (alpha * x_t - sigma * prediction) / (alpha**2 + sigma**2)
        case "flow":
            return (x_t - sigma * prediction) / (alpha + sigma)
        case "score":
            return (x_t + sigma**2 * prediction) / alpha
        case "edm":
            c_skip, c_out, _, _ = edm_preconditioning(sigma / alpha, sigma_data)
            return c_skip * x_t / alpha + c_out * prediction
    raise ValueError(f'no prediction "{kind}"; known are {", ".join(PREDICTIONS)}')


def from_x0(
    x_0: Array,
    x_t: Array,
    alpha: Array,
    sigma: Array,
    kind: str,
    sigma_data: float = SIGMA_DATA,
) -> Array:
    """The prediction of the given kind that corresponds to x_0 at x_t: the inverse of `to_x0`."""
    alpha, sigma = per_sample(alpha, x_t), per_sample(sigma, x_t)
    match kind:
        case "eps":
            return (x_t - alpha * x_0) / sigma
        case "x0":
            return x_0
        case "v":
            return (alpha * x_t - (alpha**2 + sigma**2) * x_0) / sigma
        case "flow":
            return (x_t - (alpha + sigma) * x_0) / sigma
        case "score":
            return (alpha * x_0 - x_t) / sigma**2
        case "edm":
            c_skip, c_out, _, _ = edm_preconditioning(sigma / alpha, sigma_data)
            return (x_0 - c_skip * x_t / alpha) / c_out
    raise ValueError(f'no prediction "{kind}"; known are {", ".join(PREDICTIONS)}')


def target(
    x_0: Array,
    eps: Array,
    alpha: Array,
    sigma: Array,
    kind: str,
    sigma_data: float = SIGMA_DATA,
) -> Array:
    """The training target of the given kind at x_t = alpha x_0 + sigma eps; finite at alpha = 0."""
    a, s = per_sample(alpha, x_0), per_sample(sigma, x_0)
    match kind:
        case "eps":
            return eps
        case "x0":
            return x_0
        case "v":
            return a * eps - s * x_0
        case "flow":
            return eps - x_0
        case "score":
            return -eps / s
    return from_x0(x_0, a * x_0 + s * eps, alpha, sigma, kind, sigma_data)


def as_denoiser(
    network: Callable[[Array, Array], Any],
    schedule: Schedule,
    prediction: str,
    *,
    learned_variance: bool = False,
    sigma_data: float = SIGMA_DATA,
) -> Denoiser:
    """The denoiser of a network(x, t [B]) -> prediction, or (prediction, v) with learned variance.

    v in [−1, 1] [B, ...] is the variance output of Improved DDPM; its fraction is (v + 1) / 2. The
    network's input is x_t; for "edm" it is c_in x_t / alpha, of unit variance at every noise level.
    """
    if prediction not in PREDICTIONS:
        raise ValueError(f'no prediction "{prediction}"; known are {", ".join(PREDICTIONS)}')
    if prediction in ("eps", "score", "edm") and float(schedule.alpha(1.0)) == 0.0:
        raise ValueError(
            f'prediction "{prediction}" does not determine x_0 at t = 1 of schedule '
            f'"{schedule.name}", where alpha is 0; predict "v" or "x0", or use a schedule with '
            "alpha(1) > 0"
        )

    def denoiser(x_t: Array, t: Array):
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        x_in = x_t
        if prediction == "edm":
            c_in = edm_preconditioning(sigma / alpha, sigma_data).c_in / alpha
            x_in = per_sample(c_in, x_t).astype(x_t.dtype) * x_t
        output = network(x_in, t)
        output, variance = output if learned_variance else (output, None)
        x0_hat = to_x0(output, x_t, alpha, sigma, prediction, sigma_data)
        return Denoised(x0_hat, (variance + 1) / 2) if learned_variance else x0_hat

    return denoiser
