"""UniPC (Zhao et al. 2023, 2302.04867): a predictor and a corrector of any order from one formula.

A step goes from node s to node t. With λ = log(alpha / sigma), h = λ_t − λ_s, m the network's
estimates (x0 or eps), r_k = (λ_k − λ_s) / h of an earlier node k and D_k = (m_k − m_0) / r_k,

    x0:   x_t = sigma_t / sigma_s x − alpha_t (e^−h − 1) m_0 − alpha_t B(−h) Σ_k ρ_k D_k     (eq. 9)
    eps:  x_t = alpha_t / alpha_s x − sigma_t (e^h − 1) m_0 − sigma_t B(h) Σ_k ρ_k D_k       (eq. 3)

where ρ solves R ρ = b, R_jk = r_k^(j−1), b_j = j! h φ_{j+1} / B (theorem 3.1, equations 5 and 8).
UniP of order p uses p − 1 earlier nodes. UniC of order p also uses node t, r = 1, with the estimate
at the uncorrected x_t, which the next step uses too: the corrector needs no further evaluation.
B is h ("bh1") or e^h − 1 ("bh2"), h with its sign. B cancels in B ρ except where the authors fix
ρ = 1/2: in UniP-2 and UniC-1, where any B = O(h) keeps the order.
"""

from dataclasses import replace
from math import factorial

import numpy as np

from dalle_jax.diffusion.grids import Grid
from dalle_jax.diffusion.samplers.coefficients import Row
from dalle_jax.diffusion.samplers.dpm_solver import exponential_step, solver_orders

VARIANTS = ("bh1", "bh2")


def unipc(
    grid: Grid,
    *,
    order: int = 2,
    variant: str = "bh2",
    corrector: bool = True,
    corrector_start: int = 0,
    solver_prediction: str = "x0",
    lower_order_final: bool = True,
) -> list[Row]:
    """UniPC-p (algorithms 5 to 8): UniP-p, each step but the last corrected by UniC-p.

    The first `corrector_start` steps are not corrected, which helps under strong guidance.
    `solver_prediction`, "x0" or "eps", is what the solver interpolates, whatever the network
    predicts. `lower_order_final` lowers the order to 1 at the end, which is more stable with few
    steps and limits the order of convergence to 2.
    """
    _check(order, variant)
    if corrector_start < 0:
        raise ValueError(f"corrector_start is {corrector_start}; it must be 0 or more steps")
    if solver_prediction not in ("x0", "eps"):
        raise ValueError(f'solver_prediction is "x0" or "eps"; got "{solver_prediction}"')
    noise = solver_prediction == "eps"
    if noise and grid.alpha[0] == 0:
        raise ValueError('solver_prediction="eps" cannot start at alpha = 0: use "x0"')
    rows = []
    for i, p in enumerate(solver_orders(grid, order, lower_order_final)):
        a, b = coefficients(grid, i, p, variant, noise=noise, corrector=False)
        rows.append(Row(grid.t[i], a, b, eps_of=(grid.alpha[i], grid.sigma[i]) if noise else None))
    if corrector:
        return correct(
            rows,
            grid,
            order,
            variant=variant,
            start=corrector_start,
            lower_order_final=lower_order_final,
        )
    return rows


def correct(
    rows: list[Row],
    grid: Grid,
    order: int,
    *,
    variant: str = "bh2",
    start: int = 0,
    lower_order_final: bool = True,
) -> list[Row]:
    """A deterministic sampler's rows with UniC of the given order from step `start` on (§3.4).

    A sampler with two rows per step (Heun) is corrected from its first estimate at each node.
    """
    _check(order, variant)
    steps = len(grid.t) - 1
    if any(row.s or row.churn for row in rows):
        raise ValueError("UniC corrects deterministic samplers, and this one is stochastic")
    stride = round(len(rows) / steps)
    if any(row.correction for row in rows[::stride]):
        raise ValueError("this sampler has a corrector already: leave unic_order out")
    rows = list(rows)
    orders = solver_orders(grid, order, lower_order_final)
    for i in range(max(start, 0), steps - 1):
        if not np.isfinite(grid.log_ratio[i]):
            continue
        at = (i + 1) * stride  # the row that evaluates the network at node t
        noise = rows[at].eps_of is not None
        c, d = coefficients(grid, i, orders[i], variant, noise=noise, corrector=True)
        spread = np.zeros(1 + stride * (len(d) - 1))
        spread[::stride] = d
        rows[at] = replace(rows[at], correction=(c, tuple(spread)))
    return rows


def coefficients(
    grid: Grid,
    i: int,
    order: int,
    variant: str,
    *,
    noise: bool,
    corrector: bool,
    shortcut: bool = True,
) -> tuple[float, tuple[float, ...]]:
    """The coefficients of x and of the estimates, newest first, in step i of UniP or UniC.

    `shortcut` fixes ρ = 1/2 where the authors do.
    """
    λ = grid.log_ratio
    h = λ[i + 1] - λ[i]
    if noise:
        a = grid.alpha[i + 1] / grid.alpha[i]
        m_0 = grid.sigma[i + 1] - a * grid.sigma[i]  # −sigma_t (e^h − 1)
        hh, outer = h, grid.sigma[i + 1]
    else:
        a, m_0 = exponential_step(grid, i)
        hh, outer = -h, grid.alpha[i + 1]
    r = [(λ[i - k] - λ[i]) / h for k in range(1, order)] + ([1.0] if corrector else [])
    earlier = np.zeros(order)  # on m_0, m_1, …
    earlier[0] = m_0
    entered = 0.0  # on m_t
    if r:
        B = hh if variant == "bh1" else np.expm1(hh)
        halved = shortcut and len(r) == 1
        ρ = np.array([0.5]) if halved else _solve(np.array(r), hh, B)
        weights = -outer * B * ρ / np.array(r)
        earlier[0] -= weights.sum()
        earlier[1:] += weights[: order - 1]
        entered = weights[-1] if corrector else 0.0
    return a, ((entered, *earlier) if corrector else tuple(earlier))


def _solve(r: np.ndarray, hh: float, B: float) -> np.ndarray:
    """ρ of R ρ = b; h φ_2 = (e^h − 1) / h − 1 and h φ_{k+1} = h φ_k / h − 1 / k!."""
    R = np.vander(r, increasing=True).T
    b, h_phi = [], np.expm1(hh) / hh - 1
    for j in range(1, len(r) + 1):
        b.append(factorial(j) * h_phi / B)
        h_phi = h_phi / hh - 1 / factorial(j + 1)
    return np.linalg.solve(R, np.array(b))


def _check(order: int, variant: str) -> None:
    if order not in (1, 2, 3):
        raise ValueError(f"UniPC has order 1, 2 or 3; got {order}")
    if variant not in VARIANTS:
        raise ValueError(f'no variant "{variant}" of UniPC; known are {", ".join(VARIANTS)}')
