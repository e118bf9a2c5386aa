"""DDIM (Song et al. 2021, 2010.02502)."""

import numpy as np

from dalle_jax.diffusion.grids import Grid
from dalle_jax.diffusion.samplers.coefficients import Row


def ddim(grid: Grid, *, eta: float = 0.0) -> list[Row]:
    """x_s = alpha_s x0_hat + sqrt(sigma_s² − s²) eps_hat + s z,  s = η σ̃ (equations 12 and 16).

    σ̃ = sqrt(β̃), the posterior's deviation, written with ᾱ = alpha² as
    sqrt((1 − ᾱ_s) / (1 − ᾱ_t)) sqrt(1 − ᾱ_t / ᾱ_s). η = 0 is deterministic, η = 1 is DDPM.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; it must be from 0, deterministic, to 1, DDPM's noise")
    rows = []
    for i in range(len(grid.t) - 1):
        alpha_t, sigma_t = grid.alpha[i], grid.sigma[i]
        alpha_s, sigma_s = grid.alpha[i + 1], grid.sigma[i + 1]
        s = eta * sigma_s / sigma_t * np.sqrt(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2)
        eps = np.sqrt(sigma_s**2 - s**2)
        rows.append(Row(grid.t[i], eps / sigma_t, (alpha_s - alpha_t * eps / sigma_t,), s=s))
    return rows
