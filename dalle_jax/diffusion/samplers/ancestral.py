"""DDPM: the reverse chain of Ho et al. 2020, with fixed or learned variance, on any time grid."""

import numpy as np

from dalle_jax.diffusion.grids import Grid
from dalle_jax.diffusion.samplers.coefficients import Row

VARIANCES = ("fixed_small", "fixed_large", "learned")


def posterior(alpha_t, sigma_t, alpha_s, sigma_s):
    """q(x_s | x_t, x_0) for s < t: (coefficient of x_t, of x_0, variance β̃, and the step's β).

    DDPM, equations 6 and 7, for any pair of times: with alpha_ts = alpha_t / alpha_s and
    β = sigma_t² − alpha_ts² sigma_s²,

        mean = alpha_ts sigma_s² / sigma_t² x_t + alpha_s β / sigma_t² x_0
        β̃ = β sigma_s² / sigma_t²
    """
    alpha_ts = alpha_t / alpha_s
    beta = sigma_t**2 - alpha_ts**2 * sigma_s**2
    return (
        alpha_ts * sigma_s**2 / sigma_t**2,
        alpha_s * beta / sigma_t**2,
        beta * sigma_s**2 / sigma_t**2,
        beta,
    )


def ddpm(grid: Grid, *, variance: str = "fixed_small") -> list[Row]:
    """x_s = posterior mean of (x_t, x0_hat) + sqrt(Σ) z (DDPM, algorithm 2).

    Σ is β̃ ("fixed_small"), β ("fixed_large") or, from the denoiser's `Denoised` output, between
    the two in log space ("learned", Improved DDPM, equation 15). The step onto clean data is the
    mean, without noise.
    """
    if variance not in VARIANCES:
        raise ValueError(f'no variance "{variance}"; known are {", ".join(VARIANCES)}')
    rows = []
    for i in range(len(grid.t) - 1):
        x, x0, small, large = posterior(
            grid.alpha[i], grid.sigma[i], grid.alpha[i + 1], grid.sigma[i + 1]
        )
        last = grid.sigma[i + 1] == 0
        if variance == "learned":
            bounds = (0.0, 0.0) if last else (np.log(small), np.log(large))
            rows.append(Row(grid.t[i], x, (x0,), s=0.0 if last else 1.0, log_variance=bounds))
        else:
            deviation = np.sqrt(small if variance == "fixed_small" else large)
            rows.append(Row(grid.t[i], x, (x0,), s=0.0 if last else deviation))
    return rows
