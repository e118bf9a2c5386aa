"""The training loss: a squared error on what the network predicts, weighted by noise level.

    L = E_t,eps  w(t) ‖prediction − target‖²

Every weight is defined on x0, w_x0(SNR) ‖x0_hat − x_0‖², and converted to the prediction by
(∂x0 / ∂prediction)², so that one formula serves eps, x0, v, flow and EDM's F. The exception is
"simple", which weights the error of the prediction itself by 1.
"""

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, per_sample
from dalle_jax.diffusion.parameterization import SIGMA_DATA, edm_preconditioning
from dalle_jax.diffusion.schedules import Schedule

WEIGHTINGS = ("simple", "snr", "truncated_snr", "min_snr", "p2", "edm")


def add_noise(x_0: Array, eps: Array, schedule: Schedule, t: Array) -> Array:
    """x_t = alpha(t) x_0 + sigma(t) eps [B, ...] at the times t [B] (DDPM, equation 4)."""
    return per_sample(schedule.alpha(t), x_0) * x_0 + per_sample(schedule.sigma(t), x_0) * eps


def squared_error(prediction: Array, target: Array) -> Array:
    """Mean squared error of each sample [B] in float32; with weight 1 L_simple (DDPM, eq. 14)."""
    dtype = jnp.promote_types(prediction.dtype, jnp.float32)
    error = jnp.square(prediction.astype(dtype) - target.astype(dtype))
    return jnp.mean(error, axis=tuple(range(1, error.ndim)))


def weight(
    weighting: str,
    prediction: str,
    schedule: Schedule,
    t: Array,
    *,
    gamma: float | None = None,
    k: float = 1.0,
    sigma_data: float = SIGMA_DATA,
) -> Array:
    """The weight [B] of the prediction's squared error at times t [B].

    On x0, with SNR = alpha² / sigma²:

    simple         the weight that is 1 on the prediction (DDPM, equation 14, for eps)
    snr            SNR: 1 on eps
    truncated_snr  max(SNR, 1) (Salimans & Ho 2022, §4)
    min_snr        min(SNR, γ), γ = 5 (Hang et al. 2023, 2303.09556, §3.4)
    p2             SNR / (k + SNR)^γ, γ = 1 (Choi et al. 2022, 2204.00227, equation 8)
    edm            (σ² + σ_data²) / (σ σ_data)², σ = sigma / alpha (EDM, table 1)

    Where the SNR is exactly 0, min_snr weights the prediction by 1, as its authors' code does.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f'no loss weighting "{weighting}"; known are {", ".join(WEIGHTINGS)}')
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    if weighting == "simple":
        return jnp.ones_like(alpha)
    snr = (alpha / sigma) ** 2
    carried = _x0_per_prediction(prediction, alpha, sigma, sigma_data) ** 2
    match weighting:
        case "snr":
            return snr * carried
        case "truncated_snr":
            return jnp.maximum(snr, 1.0) * carried
        case "min_snr":
            capped = jnp.minimum(snr, 5.0 if gamma is None else gamma) * carried
            return jnp.where(snr == 0, 1.0, capped)
        case "p2":
            return snr / (k + snr) ** (1.0 if gamma is None else gamma) * carried
        case "edm":
            return (1 / sigma_data**2 + snr) * carried


def _x0_per_prediction(prediction: str, alpha: Array, sigma: Array, sigma_data: float) -> Array:
    """|∂x0 / ∂prediction| at fixed x_t, of each kind in `parameterization`."""
    match prediction:
        case "eps":
            return sigma / alpha
        case "x0":
            return jnp.ones_like(alpha)
        case "v":
            return sigma / (alpha**2 + sigma**2)
        case "flow":
            return sigma / (alpha + sigma)
        case "score":
            return sigma**2 / alpha
        case "edm":
            return edm_preconditioning(sigma / alpha, sigma_data).c_out
    raise ValueError(f'no prediction "{prediction}" to weight')


def weighted_mean(losses: Array, weights: Array) -> jax.Array:
    """Mean of losses [B] times weights [B] (noise-level weight × importance weight)."""
    return jnp.mean(losses * weights)
