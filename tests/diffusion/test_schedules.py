import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion import schedules
from dalle_jax.diffusion.discrete import BETAS, from_alpha_bar, from_betas
from dalle_jax.diffusion.zero_terminal import rescale_alpha_bar, zero_terminal_snr

CONTINUOUS = {name: make() for name, make in diffusion.CONTINUOUS.items()}
DISCRETE = {f"discrete {name}": diffusion.discrete(name) for name in BETAS}
RESCALED = {
    f"{name}, zero terminal": zero_terminal_snr(schedule)
    for name, schedule in {**CONTINUOUS, **DISCRETE}.items()
    if name not in ("edm", "rectified_flow", "sigmoid")
}
ALL = {**CONTINUOUS, **DISCRETE, **RESCALED, "shifted": schedules.rectified_flow(3.0)}
each = pytest.mark.parametrize("schedule", ALL.values(), ids=ALL.keys())
T_GRID = np.linspace(0.002, 0.998, 331)


@each
def test_logsnr_falls_and_time_is_its_inverse(schedule):
    logsnr = schedule.logsnr(T_GRID)
    assert (np.diff(logsnr) < 0).all()
    np.testing.assert_allclose(schedule.time(logsnr), T_GRID, atol=1e-12)
    ratio = schedule.alpha(T_GRID) / schedule.sigma(T_GRID)
    np.testing.assert_allclose(logsnr, 2 * np.log(ratio), atol=1e-12)


@each
def test_float32_on_the_device_agrees_with_float64_on_the_host(schedule):
    t = jnp.asarray(T_GRID, jnp.float32)
    exact = np.asarray(t, np.float64)
    for name in ("alpha", "sigma"):
        f = getattr(schedule, name)
        assert f(t).dtype == jnp.float32
        np.testing.assert_allclose(f(t), f(exact), rtol=3e-5)
    np.testing.assert_allclose(schedule.time(schedule.logsnr(t)), exact, atol=2e-5)


@each
def test_variance_is_preserved(schedule):
    if schedule is ALL["edm"] or "flow" in schedule.name:
        pytest.skip("not variance preserving by design")
    total = schedule.alpha(T_GRID) ** 2 + schedule.sigma(T_GRID) ** 2
    np.testing.assert_allclose(total, 1, rtol=1e-13)


@pytest.mark.parametrize("schedule", RESCALED.values(), ids=RESCALED.keys())
def test_zero_terminal_snr_is_exactly_zero(schedule):
    assert schedule.alpha(1.0) == 0 and schedule.sigma(1.0) == 1
    assert schedule.alpha(jnp.float32(1)) == 0 and schedule.sigma(jnp.float32(1)) == 1
    assert schedule.logsnr(1.0) == -np.inf
    assert schedule.time(-np.inf) == pytest.approx(1, abs=1e-12)


def test_terminal_noise_of_the_tables():
    # reference values of sqrt(ᾱ_T) at T = 1000
    for name, value in {"linear": 6.35e-3, "cosine": 4.93e-5, "scaled_linear": 6.83e-2}.items():
        assert float(diffusion.discrete(name).alpha(1.0)) == pytest.approx(value, rel=1e-2)


def test_linear_table_is_ddpm_s():
    betas = BETAS["linear"](1000)
    assert betas[0] == 1e-4 and betas[-1] == 0.02
    alpha_bar = np.cumprod(1 - betas)
    schedule = diffusion.discrete("linear")
    n = np.arange(1, 1001)
    np.testing.assert_allclose(schedule.alpha(n / 1000) ** 2, alpha_bar, rtol=1e-12)
    np.testing.assert_allclose(schedule.model_time(n / 1000), n - 1, atol=1e-9)
    assert schedule.alpha(0.0) == 1 and schedule.sigma(0.0) == 0


def test_cosine_table_is_improved_ddpm_s():
    n = np.arange(1, 990)  # before β meets its cap
    f = np.cos((n / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    f_0 = np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    alpha = diffusion.discrete("cosine").alpha(n / 1000)
    np.testing.assert_allclose(alpha**2, f / f_0, rtol=1e-9)


def test_continuous_schedules_are_the_limits_of_the_tables():
    t = np.linspace(0.1, 0.9, 9)
    for name in ("linear", "scaled_linear", "sigmoid"):
        table = BETAS[name](100_000) if name != "sigmoid" else None
        schedule = from_betas(table) if table is not None else diffusion.discrete(name)
        np.testing.assert_allclose(schedule.alpha(t), CONTINUOUS[name].alpha(t), rtol=2e-3)


def test_noise_at_the_ends():
    assert float(CONTINUOUS["cosine"].logsnr(0.0)) == pytest.approx(20)
    assert float(CONTINUOUS["cosine"].logsnr(1.0)) == pytest.approx(-20)
    assert float(CONTINUOUS["edm"].sigma(0.0)) == pytest.approx(0.002)
    assert float(CONTINUOUS["edm"].sigma(1.0)) == pytest.approx(80)
    assert CONTINUOUS["rectified_flow"].alpha(1.0) == 0
    # SD3's shift: s = shift t / (1 + (shift − 1) t)
    assert float(schedules.rectified_flow(3.0).sigma(0.5)) == pytest.approx(0.75)


def test_rescaling_keeps_the_first_value():
    alpha_bar = np.cumprod(1 - BETAS["linear"](1000))
    rescaled = rescale_alpha_bar(alpha_bar)
    assert rescaled[-1] == 0 and rescaled[0] == pytest.approx(alpha_bar[0], rel=1e-15)


def test_bad_tables_are_refused():
    with pytest.raises(ValueError, match="inside"):
        from_betas(np.array([0.1, 1.0]))
    with pytest.raises(ValueError, match="decrease strictly"):
        from_alpha_bar(np.array([0.5, 0.6]))
    with pytest.raises(ValueError, match="known are linear"):
        diffusion.discrete("lineer")


def test_under_jit():
    schedule = DISCRETE["discrete cosine"]
    t = jnp.array([0.25, 0.5])
    np.testing.assert_allclose(jax.jit(schedule.alpha)(t), schedule.alpha(t), rtol=1e-6)
