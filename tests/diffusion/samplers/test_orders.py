"""Orders of convergence on a Gaussian mixture with its exact denoiser, in float64."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.diffusion.samplers import sampler_rows
from dalle_jax.diffusion.samplers.coefficients import run, stack

SCHEDULE = diffusion.CONTINUOUS["cosine"]()
DATA = ([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.2]], [0.3, 0.4])


MOST = 800  # rows of a table; shorter ones end in rows that change nothing


@jax.jit
def chain(table, x):
    """Compiled once for all tables with the same columns."""
    data = GaussianMixture(*(jnp.array(a) for a in DATA))
    return run(table, data.denoiser(SCHEDULE), x)


def solve(sampler, steps, **options):
    """From logsnr −12 to 6 in even steps of logsnr: the end is not clean data, whose λ is ∞."""
    times = SCHEDULE.time(np.linspace(-12, 6, steps + 1))
    rows = sampler_rows(SCHEDULE, sampler=sampler, steps=steps, spacing=times, **options)
    idle = replace(rows[-1], a=1.0, b=(0.0,), correction=None)
    rows += [idle] * (MOST - len(rows))
    with jax.enable_x64(True):
        x_T = np.random.default_rng(0).normal(size=(8, 2))
        return np.asarray(chain(stack(rows, np.float64), x_T))


@functools.cache
def reference():
    return solve("unipc", 4000, order=3, lower_order_final=False)


def slope(sampler, steps=160, **options):
    errors = [
        np.sqrt(np.mean((solve(sampler, n, **options) - reference()) ** 2))
        for n in (steps, 2 * steps)
    ]
    return np.log2(errors[0] / errors[1])


FULL = dict(lower_order_final=False)


@pytest.mark.parametrize(
    "sampler, options, order",
    [
        ("ddim", {}, 1),
        ("euler", {}, 1),
        ("heun", {}, 2),
        ("dpmpp_1s", {}, 1),
        ("dpmpp_2m", FULL, 2),
        ("dpmpp_3m", FULL, 3),
        ("ddim", dict(unic_order=1), 2),
        ("dpmpp_2m", dict(unic_order=2, **FULL), 3),
        ("heun", dict(unic_order=2), 3),
    ],
    ids=str,
)
def test_order(sampler, options, order):
    steps = 400 if sampler == "dpmpp_3m" else 160  # the higher the order, the later the slope
    assert slope(sampler, steps, **options) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("corrector", [False, True])
def test_order_of_unipc(order, corrector, variant, prediction):
    if order == 3 and variant == "bh1":
        pytest.skip("bh1 and bh2 are the same at order 3")
    options = dict(order=order, corrector=corrector, variant=variant, solver_prediction=prediction)
    steps = 400 if order == 3 else 200
    observed = slope("unipc", steps, **options, **FULL)
    assert observed == pytest.approx(order + corrector, abs=0.15)


def test_lower_order_final_caps_the_order_at_2():
    assert slope("unipc", order=3, lower_order_final=True) == pytest.approx(2, abs=0.15)
