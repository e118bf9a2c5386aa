"""What tables of coefficients say without a network: who equals whom, and how often it is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.grids import time_grid
from dalle_jax.diffusion.samplers import SAMPLERS, sampler_rows
from dalle_jax.diffusion.samplers.coefficients import stack
from dalle_jax.diffusion.samplers.unipc import coefficients

COSINE = diffusion.CONTINUOUS["cosine"]()
LINEAR = diffusion.discrete("linear")
KEY = jax.random.key(0)


def table(sampler, schedule=LINEAR, steps=12, **options):
    return stack(sampler_rows(schedule, sampler=sampler, steps=steps, **options), np.float64)


def assert_same_tables(a, b):
    assert a.keys() == b.keys()
    for name in a:
        width = min(a[name].shape[-1], b[name].shape[-1]) if a[name].ndim > 1 else None
        np.testing.assert_allclose(
            a[name][..., :width], b[name][..., :width], rtol=1e-9, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("schedule", [LINEAR, COSINE, diffusion.CONTINUOUS["edm"]()])
def test_ddim_euler_and_first_order_dpm_solver_are_one(schedule):
    ddim = table("ddim", schedule)
    for other in ("euler", "dpmpp_1s"):
        assert_same_tables(ddim, table(other, schedule))
    assert_same_tables(ddim, table("unipc", schedule, order=1, corrector=False))


def test_ddim_with_eta_1_is_ddpm():
    assert_same_tables(table("ddim", eta=1.0), table("ddpm"))


def test_unip_2_bh2_is_dpmpp_2m_and_unip_3_is_dpmpp_3m():
    for p in (2, 3):
        assert_same_tables(
            table(f"dpmpp_{p}m", lower_order_final=True),
            table("unipc", order=p, variant="bh2", corrector=False),
        )


def test_bh1_and_bh2_differ_only_by_the_fixed_half():
    grid = time_grid(COSINE, 10, "logsnr")
    for i, order, corrector in ((5, 2, False), (5, 3, False), (5, 1, True), (5, 3, True)):
        for noise in (False, True):
            exact, fixed = (
                [
                    coefficients(
                        grid, i, order, v, noise=noise, corrector=corrector, shortcut=shortcut
                    )[1]
                    for v in ("bh1", "bh2")
                ]
                for shortcut in (False, True)
            )
            np.testing.assert_allclose(exact[0], exact[1], rtol=1e-9)
            halved = (order, corrector) in ((2, False), (1, True))
            assert np.allclose(*fixed, rtol=1e-6) is not halved


def test_estimates_of_clean_data_keep_it():
    """Where every estimate is x_0 and x is alpha x_0, a step leads to the next alpha x_0."""
    for sampler in SAMPLERS:
        grid = time_grid(LINEAR, 9, "trailing")
        rows = sampler_rows(LINEAR, sampler=sampler, steps=9)
        if sampler == "heun":
            continue
        for i, row in enumerate(rows):
            noiseless = row.a * grid.alpha[i] + sum(row.b)
            assert noiseless == pytest.approx(grid.alpha[i + 1], rel=1e-9), sampler


def test_one_step_of_heun_by_hand():
    grid = time_grid(LINEAR, 4, "trailing")
    r = grid.sigma / grid.alpha
    rng = np.random.default_rng(0)
    x, m, m_next = rng.normal(size=3)
    d = (x / grid.alpha[1] - m) / r[1]
    euler = x / grid.alpha[1] + (r[2] - r[1]) * d
    d_next = (euler - m_next) / r[2]
    expected = grid.alpha[2] * (x / grid.alpha[1] + (r[2] - r[1]) * (d + d_next) / 2)
    first, second = sampler_rows(LINEAR, sampler="heun", variable="sigma", steps=4)[2:4]
    assert first.a * x + first.b[0] * m == pytest.approx(grid.alpha[2] * euler)
    assert second.a * x + second.b[0] * m_next + second.b[1] * m == pytest.approx(expected)


def test_churn_raises_the_noise_as_edm_says():
    schedule = diffusion.CONTINUOUS["edm"]()
    options = dict(spacing="karras", churn=4.0, churn_min=0.1, churn_max=50.0, churn_noise=1.01)
    rows = sampler_rows(schedule, sampler="euler", steps=10, **options)
    sigma = time_grid(schedule, 10, "karras").sigma
    for row, s in zip(rows, sigma):
        if not 0.1 <= s <= 50:
            assert row.churn is None
            continue
        raised = 1.4 * s  # 1 + churn / steps, below sqrt(2)
        assert float(schedule.sigma(row.t)) == pytest.approx(raised)
        assert row.churn == pytest.approx((1.0, 1.01 * np.sqrt(raised**2 - s**2)))


def test_churn_leaves_pure_noise_as_it_is():
    schedule = diffusion.zero_terminal_snr(LINEAR)
    rows = sampler_rows(schedule, sampler="euler", steps=4, churn=1.0)
    assert rows[0] == sampler_rows(schedule, sampler="euler", steps=4)[0]
    assert all(row.churn and np.isfinite(row.churn).all() for row in rows[1:])


def test_network_evaluations():
    for sampler in SAMPLERS:
        expected = 19 if sampler == "heun" else 10
        assert diffusion.network_evaluations(LINEAR, sampler=sampler, steps=10) == expected


@pytest.mark.parametrize(
    "settings",
    [{"sampler": s} for s in SAMPLERS]
    + [
        {"sampler": "ddpm", "variance": "learned"},
        {"sampler": "unipc", "order": 3, "solver_prediction": "eps"},
        {"sampler": "ddim", "unic_order": 2},
        {"sampler": "heun", "churn": 2.0, "churn_max": 5.0},
    ],
    ids=str,
)
def test_the_network_is_asked_exactly_so_often(settings):
    calls = []

    def denoiser(x, t):
        jax.debug.callback(lambda t: calls.append(float(t)), t[0])
        x0 = 0.5 * x
        return diffusion.Denoised(x0, 0 * x) if "variance" in settings else x0

    settings = dict(steps=6, **settings)
    x = diffusion.sample(denoiser, LINEAR, jnp.ones((1, 2)), key=KEY, **settings)
    jax.block_until_ready(x)
    jax.effects_barrier()
    assert len(calls) == diffusion.network_evaluations(LINEAR, **settings)


def test_unic_is_refused_where_it_means_nothing():
    with pytest.raises(ValueError, match="is stochastic"):
        sampler_rows(LINEAR, sampler="ddpm", steps=5, unic_order=2)
    with pytest.raises(ValueError, match="already"):
        sampler_rows(LINEAR, sampler="unipc", steps=5, unic_order=2)


def test_bad_options_name_the_known_ones():
    def sampling(**settings):
        return sampler_rows(COSINE, **dict(steps=5, **settings))

    with pytest.raises(ValueError, match="known are ddpm, ddim, euler"):
        sampling(sampler="ddmp")
    with pytest.raises(ValueError, match='"eta"; it takes order, variant'):
        sampling(sampler="unipc", eta=0.5)
    with pytest.raises(ValueError, match="time grid rho, sigma_min"):
        sampling(sampler="ddim", spacing="karras", roh=5.0)
    with pytest.raises(ValueError, match='"eta" of a sampler is a number; got'):
        sampling(sampler="ddim", eta="none")
    with pytest.raises(ValueError, match='"rho" of a sampler is a number'):
        sampling(sampler="ddim", spacing="karras", rho="seven")
    with pytest.raises(ValueError, match="known are bh1, bh2"):
        sampling(sampler="unipc", variant="bh3")
    with pytest.raises(ValueError, match="1, 2 or 3"):
        sampling(sampler="unipc", order=4)
    with pytest.raises(ValueError, match="known are fixed_small"):
        sampling(sampler="ddpm", variance="small")
    with pytest.raises(ValueError, match="lower churn_max"):
        sampler_rows(LINEAR, sampler="heun", steps=5, churn=2.0)
