"""Euler and Heun along the probability flow, with churn (EDM, Karras et al. 2022, 2206.00364).

In x / alpha and σ = sigma / alpha the flow is dx/dσ = (x − x0_hat) / σ, whatever the schedule.
Heun in σ with churn is EDM's algorithm 2.
"""

import numpy as np

from dalle_jax.diffusion.grids import Grid
from dalle_jax.diffusion.samplers.coefficients import Row

VARIABLES = ("flow", "sigma")


def euler(
    grid: Grid,
    *,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = np.inf,
    churn_noise: float = 1.0,
) -> list[Row]:
    """x' = x + (σ' − σ) d, d = (x − x0_hat) / σ; without churn the same as DDIM.

    At noise levels from churn_min (S_tmin) to churn_max (S_tmax) σ is raised to (1 + γ) σ, where
    γ = min(churn / steps, sqrt(2) − 1) and churn is S_churn, by noise that is scaled by churn_noise
    (S_noise).
    """
    raised = _raise_noise(grid, churn, churn_min, churn_max, churn_noise)
    return [_euler_row(grid, i, *raised[i]) for i in range(len(raised))]


def heun(
    grid: Grid,
    *,
    variable: str = "flow",
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = np.inf,
    churn_noise: float = 1.0,
) -> list[Row]:
    """x' = x + (u' − u) (d + d') / 2 with d' at the end of an Euler step: two evaluations per step.

    u is the variable of integration. "flow" is sigma / (alpha + sigma), the time of a rectified
    flow, with d = (x − x0_hat) / u of x / (alpha + sigma); u is 1 at pure noise, so it works on any
    grid of any schedule. "sigma" is σ = sigma / alpha, as in EDM: its first steps are inaccurate
    where σ decreases by a large factor in one step (from 22,026 to 6.3 in ten even steps of the
    cosine schedule), and it is infinite at pure noise.

    The step onto clean data is Euler's, so N steps take 2 N − 1 evaluations.
    """
    if variable not in VARIABLES:
        raise ValueError(f'no variable "{variable}" of heun; known are {", ".join(VARIABLES)}')
    κ = float(variable == "flow")  # both are u = sigma / (alpha + κ sigma)
    if grid.alpha[0] + κ == 0:
        raise ValueError(
            'heun with variable "sigma" integrates over sigma / alpha, which is infinite at the '
            'first time of this grid: use variable "flow", a spacing with sigma_max or another '
            "sampler"
        )
    rows = []
    for i, raised in enumerate(_raise_noise(grid, churn, churn_min, churn_max, churn_noise)):
        rows.append(_euler_row(grid, i, *raised))
        _, alpha, sigma, _ = raised
        alpha_next, sigma_next = grid.alpha[i + 1], grid.sigma[i + 1]
        if sigma_next == 0:
            continue
        ratio = sigma_next / sigma
        scale_next = alpha_next + κ * sigma_next
        # With X the raised state and X' its Euler step, d = (X − m_1) / u and d' = (X' − m_0) / u',
        # the mean of the two slopes leads to X' + (u − u') / (2 u') (m_0 − m_1).
        share = (scale_next / (alpha + κ * sigma) / ratio - 1) / 2  # (u / u' − 1) / 2
        newer = scale_next * share
        older = alpha_next - ratio * alpha - newer
        rows.append(Row(grid.t[i + 1], ratio, (newer, older), correction=(1.0, ())))
    return rows


def _euler_row(grid: Grid, i: int, t, alpha, sigma, churn) -> Row:
    ratio = grid.sigma[i + 1] / sigma
    return Row(t, ratio, (grid.alpha[i + 1] - alpha * ratio,), churn=churn)


def _raise_noise(grid: Grid, churn, churn_min, churn_max, churn_noise) -> list[tuple]:
    """(t, alpha, sigma, churn) of each step after x <- churn[0] x + churn[1] z raises its noise.

    Where alpha is 0, x is pure noise, which cannot be raised.
    """
    if not (0 <= churn < np.inf and 0 <= churn_noise < np.inf):
        raise ValueError(
            f"churn is {churn} and churn_noise {churn_noise}; they must be finite, 0 or more"
        )
    if not 0 <= churn_min <= churn_max:
        raise ValueError(
            f"churn_min is {churn_min} and churn_max {churn_max}; they must be noise levels, "
            "0 <= churn_min <= churn_max"
        )
    steps = len(grid.t) - 1
    raised = []
    for t, alpha, sigma in zip(grid.t[:-1], grid.alpha[:-1], grid.sigma[:-1]):
        gamma = min(churn / steps, np.sqrt(2) - 1)
        if gamma == 0 or alpha == 0 or not churn_min <= sigma / alpha <= churn_max:
            raised.append((t, alpha, sigma, None))
            continue
        r, r_hat = sigma / alpha, sigma / alpha * (1 + gamma)
        t_hat = float(grid.schedule.time(-2 * np.log(r_hat)))
        alpha_hat, sigma_hat = grid.schedule.alpha(t_hat), grid.schedule.sigma(t_hat)
        if not np.isclose(sigma_hat / alpha_hat, r_hat, rtol=1e-6):
            raise ValueError(
                f"churn raises the noise level from {r:.3g} to {r_hat:.3g}, past the end of "
                f'schedule "{grid.schedule.name}": lower churn_max'
            )
        noise = churn_noise * alpha_hat * np.sqrt(r_hat**2 - r**2)
        raised.append((t_hat, alpha_hat, sigma_hat, (alpha_hat / alpha, noise)))
    return raised
