import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.losses import add_noise
from dalle_jax.diffusion.parameterization import edm_preconditioning

SCHEDULES = [
    diffusion.CONTINUOUS[n]() for n in ("cosine", "linear", "edm", "rectified_flow", "sigmoid")
]
T = np.array([0.05, 0.4, 0.9])


def draw(schedule):
    rng = np.random.default_rng(0)
    x_0, eps = rng.normal(size=(2, 3, 4, 5))
    alpha, sigma = schedule.alpha(T), schedule.sigma(T)
    return x_0, eps, alpha, sigma, np.asarray(add_noise(x_0, eps, schedule, T))


@pytest.mark.parametrize("kind", diffusion.PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
def test_conversions_are_exact_inverses(schedule, kind):
    with jax.enable_x64(True):
        x_0, eps, alpha, sigma, x_t = draw(schedule)
        said = diffusion.target(x_0, eps, alpha, sigma, kind)
        np.testing.assert_allclose(
            diffusion.to_x0(said, x_t, alpha, sigma, kind), x_0, rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(
            diffusion.from_x0(x_0, x_t, alpha, sigma, kind), said, rtol=1e-9, atol=1e-9
        )


def test_edm_with_sigma_data_1_on_a_vp_schedule_is_minus_v():
    with jax.enable_x64(True):
        x_0, eps, alpha, sigma, _ = draw(SCHEDULES[0])
        said = diffusion.target(x_0, eps, alpha, sigma, "edm", sigma_data=1.0)
        np.testing.assert_allclose(
            said, -diffusion.target(x_0, eps, alpha, sigma, "v"), rtol=1e-9, atol=1e-12
        )


def test_edm_preconditioning_keeps_unit_variance():
    # EDM appendix B.6: the input's and the target's variance are 1 for data of deviation σ_data
    sigma, sigma_data = np.array([0.01, 0.5, 30.0]), 0.5
    c = edm_preconditioning(sigma, sigma_data)
    np.testing.assert_allclose(c.c_in**2 * (sigma**2 + sigma_data**2), 1, rtol=1e-5)
    target_variance = ((1 - c.c_skip) * sigma_data) ** 2 + (c.c_skip * sigma) ** 2
    np.testing.assert_allclose(target_variance / c.c_out**2, 1, rtol=1e-5)


def test_denoiser_of_a_perfect_network():
    schedule = SCHEDULES[0]
    with jax.enable_x64(True):
        x_0, eps, alpha, sigma, x_t = draw(schedule)
        for kind in diffusion.PREDICTIONS:
            said = diffusion.target(x_0, eps, alpha, sigma, kind)
            denoiser = diffusion.as_denoiser(lambda x, t, said=said: said, schedule, kind)
            np.testing.assert_allclose(denoiser(x_t, T), x_0, rtol=1e-8, atol=1e-8)


def test_the_network_of_edm_sees_unit_variance():
    schedule = diffusion.CONTINUOUS["edm"]()
    seen = []
    denoiser = diffusion.as_denoiser(lambda x, t: seen.append(x) or x, schedule, "edm")
    x_t = 0.5 * np.ones((3, 2)) + schedule.sigma(T)[:, None]
    denoiser(jnp.asarray(x_t), jnp.asarray(T))
    np.testing.assert_allclose(
        seen[0], x_t / np.sqrt(schedule.sigma(T)[:, None] ** 2 + 0.25), rtol=1e-5
    )


def test_learned_variance_comes_out_as_a_fraction():
    denoiser = diffusion.as_denoiser(
        lambda x, t: (x, jnp.full_like(x, 0.5)), SCHEDULES[0], "x0", learned_variance=True
    )
    output = denoiser(jnp.ones((2, 3)), jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(output.variance_fraction, 0.75)


@pytest.mark.parametrize("kind", ["eps", "score", "edm"])
def test_eps_is_refused_at_zero_terminal_snr(kind):
    with pytest.raises(ValueError, match='predict "v" or "x0"'):
        diffusion.as_denoiser(
            lambda x, t: x, diffusion.zero_terminal_snr(diffusion.discrete("linear")), kind
        )


def test_unknown_prediction():
    with pytest.raises(ValueError, match="known are eps, x0, v"):
        diffusion.as_denoiser(lambda x, t: x, SCHEDULES[0], "epsilon")
