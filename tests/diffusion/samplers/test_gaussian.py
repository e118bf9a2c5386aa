"""Every sampler on every schedule and spacing against Gaussian data in closed form.

All samplers are linear in what the network says, and the exact denoiser of a Gaussian is affine in
x_t, so that a whole chain is an affine map of the noises that it draws: its mean and deviation come
out exactly, without a draw.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.diffusion.grids import SPACINGS, time_grid
from dalle_jax.diffusion.samplers import SAMPLERS, sampler_rows
from dalle_jax.diffusion.schedules import rectified_flow

MEAN, DEVIATION = 0.3, 0.5  # as of images in [−1, 1]
STEPS = (4, 10, 50)
SCHEDULES = {
    **{name: make() for name, make in diffusion.CONTINUOUS.items()},
    **{
        f"{name}, 1000 steps": diffusion.discrete(name)
        for name in ("linear", "scaled_linear", "cosine", "sigmoid")
    },
    "cosine, zero terminal SNR": diffusion.zero_terminal_snr(diffusion.CONTINUOUS["cosine"]()),
    "linear, 1000 steps, zero": diffusion.zero_terminal_snr(diffusion.discrete("linear")),
    "rectified_flow, shift 3": rectified_flow(3.0),
}
DETERMINISTIC = {
    **{name: {} for name in SAMPLERS if name not in ("ddpm", "dpmpp_sde_2m")},
    "unipc order 3": {"sampler": "unipc", "order": 3},
    "unipc bh1": {"sampler": "unipc", "variant": "bh1"},
    "unipc without corrector": {"sampler": "unipc", "corrector": False},
    "ddim + UniC-1": {"sampler": "ddim", "unic_order": 1},
}
# Of Euler's error. Order 1 is Euler's method itself; "bh1" weighs its slope by h in place of
# 1 − e^−h, which is three times as much on a last step as long as that of "leading".
FACTOR = {**dict.fromkeys(("ddim", "euler", "dpmpp_1s"), 1 + 1e-6), "unipc bh1": 6.0}
STOCHASTIC = {
    "ddpm": {},
    "dpmpp_sde_2m": {},
    "ddim eta": {"sampler": "ddim", "eta": 0.6},
    "euler churn": {"sampler": "euler", "churn": 2.0, "churn_max": 10.0},
    "heun churn": {"sampler": "heun", "churn": 2.0, "churn_max": 10.0},
}


def draw(schedule, grid, rows):
    """Mean and deviation of what the rows lead to from the exact state at the grid's start.

    A state is its coefficients [1 + 1 + 2 N] on 1, the noise it starts from and each row's draws.
    """
    x = np.zeros(2 + 2 * len(rows))
    x[0] = grid.alpha[0] * MEAN
    x[1] = np.hypot(grid.alpha[0] * DEVIATION, grid.sigma[0])
    y, past = x, []
    for i, row in enumerate(rows):
        if row.churn:
            x = row.churn[0] * x
            x[2 + 2 * i] += row.churn[1]
        alpha, sigma = float(schedule.alpha(row.t)), float(schedule.sigma(row.t))
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        x0 = gain * x
        x0[0] += MEAN - gain * alpha * MEAN
        past.insert(0, (x - row.eps_of[0] * x0) / row.eps_of[1] if row.eps_of else x0)
        if row.correction:
            c, d = row.correction
            y = c * y + sum(d_k * m for d_k, m in zip(d, past))
        else:
            y = x
        x = row.a * y + sum(b_k * m for b_k, m in zip(row.b, past))
        x[3 + 2 * i] += row.s
    return x[0], np.linalg.norm(x[1:])


def spacing_options(spacing, steps):
    return {"counts": (steps // 2, steps - steps // 2)} if spacing == "sections" else {}


def first_order_error(grid):
    """|log of the deviation that Euler's method draws over the true one|, in closed form.

    In y = x / alpha and r = sigma / alpha the exact denoiser leads from r to r' by the factor
    (d² + r r') / (d² + r²); from r = ∞ on, by d² + r r' over r alone, y / r being standard normal.
    """
    d2 = DEVIATION**2
    with np.errstate(divide="ignore", invalid="ignore"):
        r = grid.sigma / grid.alpha
    if np.isinf(r[0]):
        log, r = np.log(r[1]), r[1:]  # x0_hat is the mean there, and y' = mean + r' times the noise
    else:
        log = np.log(d2 + r[0] ** 2) / 2
    log += np.sum(np.log(d2 + r[:-1] * r[1:]) - np.log(d2 + r[:-1] ** 2))
    return abs(log - np.log(DEVIATION))


@functools.cache
def grid_of(name, spacing, steps):
    """The grid, or the sentence that refuses it."""
    try:
        return time_grid(SCHEDULES[name], steps, spacing, **spacing_options(spacing, steps))
    except ValueError as error:
        return str(error)


def cases(samplers):
    return list(itertools.product(samplers, SCHEDULES))


def errors(settings, name):
    """(spacing, steps, mean, |log deviation|, Euler's) of all grids that there are."""
    for spacing, steps in itertools.product(SPACINGS, STEPS):
        grid = grid_of(name, spacing, steps)
        if isinstance(grid, str):
            continue
        rows = sampler_rows(
            SCHEDULES[name],
            steps=steps,
            spacing=spacing,
            **spacing_options(spacing, steps),
            **settings,
        )
        mean, deviation = draw(SCHEDULES[name], grid, rows)
        wrong = abs(np.log(deviation / DEVIATION))
        yield spacing, steps, mean, wrong, first_order_error(grid)


@pytest.mark.parametrize(("sampler", "name"), cases(DETERMINISTIC))
def test_a_solver_of_any_order_is_worth_half_as_many_steps_of_euler(sampler, name):
    """The error of order 1 halves with twice the steps; nothing is to be worse than that."""
    settings = {"sampler": sampler, **DETERMINISTIC[sampler]}
    for spacing, steps, mean, wrong, of_euler in errors(settings, name):
        assert mean == pytest.approx(MEAN, abs=1e-3 * DEVIATION), (spacing, steps)
        assert wrong <= FACTOR.get(sampler, 2.0) * of_euler, (spacing, steps)


@pytest.mark.parametrize(("sampler", "name"), cases(STOCHASTIC))
def test_a_sampler_that_draws_noise_is_at_most_four_times_as_far_off_as_euler(sampler, name):
    """A step from r to r' loses d² r² (1 − ρ)² / (d² + r²) of the variance, ρ = (r' / r)², where
    Euler's loses it with (1 − √ρ)²: four times as little for short steps, and later noise mends."""
    settings = {"sampler": sampler, **STOCHASTIC[sampler]}
    for spacing, steps, mean, wrong, of_euler in errors(settings, name):
        assert mean == pytest.approx(MEAN, abs=1e-3 * DEVIATION), (spacing, steps)
        assert wrong <= 4 * of_euler, (spacing, steps)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_without_a_grid_of_a_spacing_says_what_to_give(name):
    refused = {s: g for s in SPACINGS if isinstance(g := grid_of(name, s, 10), str)}
    for spacing, sentence in refused.items():
        needs_end = spacing in ("karras", "logsnr", "exponential")
        assert ("give sigma_max" if needs_end else "needs a discrete schedule") in sentence
    assert set(SPACINGS) - set(refused) >= {"trailing", "leading", "linspace", "beta"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_heun_is_nearer_than_euler_from_pure_noise_on(name):
    for _, _, _, wrong, of_euler in errors({"sampler": "heun"}, name):
        assert wrong < of_euler


def test_heun_of_a_flow_is_the_mean_of_two_velocities():
    flow = diffusion.CONTINUOUS["rectified_flow"]()
    rng = np.random.default_rng(0)
    x, m, m_next = rng.normal(size=3)
    first, second = sampler_rows(flow, sampler="heun", steps=4)[:2]
    t, t_next = 1.0, 0.75
    velocity = (x - m) / t
    euler = x + (t_next - t) * velocity
    expected = x + (t_next - t) * (velocity + (euler - m_next) / t_next) / 2
    assert first.a * x + first.b[0] * m == pytest.approx(euler)
    assert second.a * x + second.b[0] * m_next + second.b[1] * m == pytest.approx(expected)


def test_heun_in_sigma_is_refused_where_there_is_no_sigma():
    for name in ("rectified_flow", "sigmoid", "cosine, zero terminal SNR"):
        with pytest.raises(ValueError, match='use variable "flow"'):
            sampler_rows(SCHEDULES[name], sampler="heun", variable="sigma", steps=5)
    with pytest.raises(ValueError, match='no variable "rho" of heun; known are flow, sigma'):
        sampler_rows(SCHEDULES["cosine"], sampler="heun", variable="rho", steps=5)


@pytest.mark.parametrize("sampler", ["heun", "unipc", "dpmpp_3m"])
@pytest.mark.parametrize("name", ["cosine", "rectified_flow"])
def test_the_scan_draws_what_the_affine_map_says(sampler, name):
    schedule, data = SCHEDULES[name], GaussianMixture([1.0], [[MEAN]], [DEVIATION])
    grid = time_grid(schedule, 10)
    mean, deviation = draw(schedule, grid, sampler_rows(schedule, sampler=sampler, steps=10))
    noise = np.array([[-1.0], [0.0], [2.0]], np.float32)
    start = grid.alpha[0] * MEAN + np.hypot(grid.alpha[0] * DEVIATION, grid.sigma[0]) * noise
    data = GaussianMixture(*map(jnp.asarray, data))
    x = jax.jit(
        lambda x: diffusion.sample(data.denoiser(schedule), schedule, x, sampler=sampler, steps=10)
    )(start)
    np.testing.assert_allclose(x, mean + deviation * noise, atol=2e-5)
