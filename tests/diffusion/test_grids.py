import time

import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.grids import SPACINGS, time_grid
from dalle_jax.diffusion.samplers import network_evaluations

LINEAR = diffusion.discrete("linear")
COSINE = diffusion.CONTINUOUS["cosine"]()


def index(schedule, steps, spacing, **options):
    """The network's indices, which papers and codes state."""
    t = time_grid(schedule, steps, spacing, **options).t
    assert t[-1] == 0
    return np.round(t[:-1] * 1000 - 1).astype(int).tolist()


def test_whole_steps_as_the_papers_have_them():
    # Lin et al. 2024, table 2, at 10 steps
    assert index(LINEAR, 10, "trailing") == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert index(LINEAR, 10, "leading") == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert index(LINEAR, 10, "leading", steps_offset=1)[-1] == 1
    assert index(LINEAR, 10, "linspace") == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]


@pytest.mark.parametrize("spacing", ["trailing", "linspace", "logsnr", "karras", "beta"])
@pytest.mark.parametrize("schedule", [LINEAR, COSINE])
def test_one_step_starts_at_the_noise_that_it_is_given(schedule, spacing):
    np.testing.assert_allclose(time_grid(schedule, 1, spacing).t, [1, 0], atol=1e-9)


def test_sections_are_glide_s():
    steps = index(LINEAR, 27, "sections", counts=(10, 10, 3, 2, 2))
    assert len(steps) == 27 and steps[0] == 999 and steps[-1] == 0
    assert sum(s < 200 for s in steps) == 10 and sum(s >= 800 for s in steps) == 2
    with pytest.raises(ValueError, match="add up to the 20"):
        time_grid(LINEAR, 20, "sections", counts=(10, 5))


def test_karras_is_edm_s():
    schedule = diffusion.CONTINUOUS["edm"]()
    grid = time_grid(schedule, 18, "karras")
    i = np.arange(18)
    sigma = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(grid.sigma[:-1], sigma, rtol=1e-9)
    assert grid.sigma[-1] == 0 and grid.alpha[-1] == 1


def test_uniform_logsnr_and_exponential_are_one():
    grid = time_grid(COSINE, 12, "logsnr")
    np.testing.assert_allclose(np.diff(grid.log_ratio[:-1], 2), 0, atol=1e-9)
    np.testing.assert_array_equal(grid.t, time_grid(COSINE, 12, "exponential").t)


def test_beta_with_a_and_b_of_one_is_even():
    t = time_grid(COSINE, 11, "beta", a=1.0, b=1.0).t[:-1]
    np.testing.assert_allclose(t, np.linspace(1, COSINE.t_min, 11), atol=1e-9)
    dense = time_grid(COSINE, 11, "beta").t[:-1]
    assert dense[0] - dense[1] < dense[5] - dense[6] > dense[-2] - dense[-1]


@pytest.mark.parametrize("schedule", [LINEAR, COSINE, diffusion.CONTINUOUS["rectified_flow"]()])
@pytest.mark.parametrize("spacing", [s for s in SPACINGS if s != "sections"])
def test_every_grid_falls_to_clean_data(schedule, spacing):
    options = dict(sigma_max=50.0) if spacing in ("karras", "logsnr", "exponential") else {}
    grid = time_grid(schedule, 9, spacing, **options)
    assert len(grid.t) == 10 and (np.diff(grid.t) < 0).all()
    assert grid.t[-1] == 0 and grid.alpha[-1] == 1 and grid.sigma[-1] == 0
    assert grid.log_ratio[-1] == np.inf


def test_times_given_by_hand():
    grid = time_grid(COSINE, 3, np.array([1.0, 0.5, 0.2, 0.1]))
    assert grid.sigma[-1] == pytest.approx(float(COSINE.sigma(0.1)))
    with pytest.raises(ValueError, match="4 times including the end"):
        time_grid(COSINE, 3, np.array([1.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match="decrease strictly"):
        time_grid(COSINE, 2, np.array([0.5, 1.0, 0.0]))


def test_errors_say_what_is_known():
    with pytest.raises(ValueError, match="known are trailing, leading"):
        time_grid(COSINE, 3, "trainling")
    for steps in (0, 2.5, "ten"):
        with pytest.raises(ValueError, match="whole number of steps, 1 to 100,000"):
            time_grid(COSINE, steps, "trailing")
    with pytest.raises(ValueError, match="give sigma_max"):
        time_grid(diffusion.CONTINUOUS["rectified_flow"](), 5, "karras")


def test_a_long_chain_costs_no_more_a_step_than_a_short_one():
    start = time.process_time()
    assert network_evaluations(COSINE, sampler="unipc", steps=40_000) == 40_000
    assert time.process_time() - start < 10  # It takes 1.2 s, and 50 at a cost of steps squared.


@pytest.mark.parametrize("steps", [0, -1, 100_001, 10**12, 2.5, True, "20"])
@pytest.mark.parametrize("spacing", ["trailing", np.array([1.0, 0.0])])
def test_a_number_of_steps_out_of_range_is_refused_with_the_range(steps, spacing):
    with pytest.raises(ValueError, match="1 to 100,000; got "):
        time_grid(COSINE, steps, spacing)
