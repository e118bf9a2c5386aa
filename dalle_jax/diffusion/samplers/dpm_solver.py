"""DPM-Solver++ (Lu et al. 2022, 2211.01095): exponential integrators in λ = log(alpha / sigma).

A step goes from node s to node t. With h = λ_t − λ_s and m the x0 estimates, newest first,

    x_t = sigma_t / sigma_s x − alpha_t (e^−h − 1) D,

where D is m_0 for order 1 and an extrapolation from earlier estimates for higher orders.
"""

import numpy as np

from dalle_jax.diffusion.grids import Grid
from dalle_jax.diffusion.samplers.coefficients import Row

# A slope over one step is extrapolated over a next step that is at most this many times longer in
# λ, which holds for all grids of the papers. Beyond that an extrapolation is worse than none: on a
# grid with two close times before a long step, the deviation of UniPC-2's samples was 30 times too
# large.
MAX_STEP_RATIO = 5.0


def solver_orders(grid: Grid, order: int, lower_order_final: bool) -> list[int]:
    """The order of each step: 1, 2, … at the start, where there is little history.

    A step onto clean data (λ = ∞) has order 1. An estimate at alpha = 0 (λ = −∞) does not determine
    a slope, so it does not count as history, nor do estimates before a step that is
    `MAX_STEP_RATIO` times shorter than this one. `lower_order_final` lowers the order to 1 at the
    end.
    """
    h, steps = np.diff(grid.log_ratio), len(grid.t) - 1
    orders = []
    for i in range(steps):
        p = 1
        if np.isfinite(h[i]):
            history = range(i - 1, max(i - order, -1), -1)
            near = [np.isfinite(h[k]) and h[i] <= MAX_STEP_RATIO * h[k] for k in history]
            p += near.index(False) if False in near else len(near)
        orders.append(min(p, steps - i) if lower_order_final else p)
    return orders


def exponential_step(grid: Grid, i: int) -> tuple[float, float]:
    """(sigma_t / sigma_s, −alpha_t (e^−h − 1)) of step i; finite at both ends of any schedule."""
    ratio = grid.sigma[i + 1] / grid.sigma[i]
    return ratio, grid.alpha[i + 1] - ratio * grid.alpha[i]


def dpmpp_1s(grid: Grid) -> list[Row]:
    """Order 1: D = m_0, which is DDIM (§4, equation 12 with k = 1)."""
    return [_row(grid, i, 1) for i in range(len(grid.t) - 1)]


def dpmpp_2m(grid: Grid, *, lower_order_final: bool | None = None) -> list[Row]:
    """Order 2, multistep: D = m_0 + (m_0 − m_1) / (2 r), r = h_last / h (algorithm 2).

    By default the last steps have lower order if there are fewer than 15, as in the authors' code.
    """
    return [_row(grid, i, p) for i, p in enumerate(_orders(grid, 2, lower_order_final))]


def dpmpp_3m(grid: Grid, *, lower_order_final: bool | None = None) -> list[Row]:
    """Order 3, multistep (appendix B).

    x_t = sigma_t / sigma_s x − alpha_t (e^−h − 1) m_0 + alpha_t φ_2 D_1 − alpha_t φ_3 D_2 with
    φ_2 = (e^−h − 1) / h + 1, φ_3 = φ_2 / h − 1/2, and D_1 = h m', D_2 = h² m'' of the parabola
    through m_0, m_1, m_2. The authors' multistep code, and those that follow it, take half of this
    D_2, the second divided difference, and so converge with order 2 (their singlestep code has the
    factor 2). With the full D_2 the step is that of UniP-3.
    """
    return [_row(grid, i, p) for i, p in enumerate(_orders(grid, 3, lower_order_final))]


def dpmpp_sde_2m(grid: Grid, *, lower_order_final: bool | None = None) -> list[Row]:
    """SDE-DPM-Solver++ 2M: the diffusion SDE by the same integrator (appendix, SDE variants).

    x_t = sigma_t / sigma_s e^−h x + alpha_t (1 − e^−2h) D + sigma_t sqrt(1 − e^−2h) z
    """
    rows = []
    λ = grid.log_ratio
    for i, p in enumerate(_orders(grid, 2, lower_order_final)):
        ratio = grid.sigma[i + 1] / grid.sigma[i]
        # e^−h = sigma_t alpha_s / (sigma_s alpha_t), in a form that is finite at both ends
        decay = ratio * grid.alpha[i] / grid.alpha[i + 1]
        gain = grid.alpha[i + 1] * (1 - decay**2)
        b = (gain,)
        if p == 2:
            r = (λ[i] - λ[i - 1]) / (λ[i + 1] - λ[i])
            b = (gain * (1 + 1 / (2 * r)), -gain / (2 * r))
        rows.append(Row(grid.t[i], ratio * decay, b, s=grid.sigma[i + 1] * np.sqrt(1 - decay**2)))
    return rows


def _orders(grid: Grid, order: int, lower_order_final: bool | None) -> list[int]:
    few = len(grid.t) - 1 < 15
    return solver_orders(grid, order, few if lower_order_final is None else lower_order_final)


def _row(grid: Grid, i: int, order: int) -> Row:
    ratio, gain = exponential_step(grid, i)
    if order == 1:
        return Row(grid.t[i], ratio, (gain,))
    λ = grid.log_ratio
    h = λ[i + 1] - λ[i]
    r_0 = (λ[i] - λ[i - 1]) / h
    if order == 2:
        return Row(grid.t[i], ratio, (gain * (1 + 1 / (2 * r_0)), -gain / (2 * r_0)))
    r_1 = (λ[i - 1] - λ[i - 2]) / h
    φ_2 = np.expm1(-h) / h + 1
    φ_3 = φ_2 / h - 0.5
    newer, older = np.array([1, -1, 0]) / r_0, np.array([0, 1, -1]) / r_1  # on (m_0, m_1, m_2)
    D_1 = newer + r_0 / (r_0 + r_1) * (newer - older)
    D_2 = 2 * (newer - older) / (r_0 + r_1)
    b = gain * np.array([1, 0, 0]) + grid.alpha[i + 1] * (φ_2 * D_1 - φ_3 * D_2)
    return Row(grid.t[i], ratio, tuple(b))
