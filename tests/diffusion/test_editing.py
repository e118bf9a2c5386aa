import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion import editing
from dalle_jax.diffusion.analytic import GaussianMixture

SCHEDULE = diffusion.discrete("linear")
KEY = jax.random.key(0)
# x_0 in two dimensions that go together: (1, 1) or (−1, −1), a little blurred
PAIR = GaussianMixture(
    jnp.array([0.5, 0.5]), jnp.array([[1.0, 1.0], [-1.0, -1.0]]), jnp.array([0.1, 0.1])
)


def test_sdedit_starts_at_its_strength():
    x_0 = jnp.ones((5, 3))
    x_t, times = editing.sdedit(SCHEDULE, x_0, KEY, strength=0.6, steps=10)
    assert times[0] == pytest.approx(0.6) and len(times) == 7 and times[-1] == 0
    eps = (x_t - SCHEDULE.alpha(0.6) * x_0) / SCHEDULE.sigma(0.6)
    np.testing.assert_allclose(
        eps, diffusion.initial_noise(KEY, jnp.arange(5), (3,)), rtol=1e-4, atol=1e-5
    )
    _, times = editing.sdedit(SCHEDULE, x_0, KEY, strength=1.0, steps=10)
    assert len(times) == 11
    with pytest.raises(ValueError, match="strength"):
        editing.sdedit(SCHEDULE, x_0, KEY, strength=0.0, steps=10)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_sdedit_leaves_the_mode_as_often_as_its_noise_hides_it(strength):
    n = 1000
    x_t, times = editing.sdedit(
        SCHEDULE, jnp.ones((n, 2)), KEY, strength=strength, steps=int(50 / strength)
    )
    settings = dict(sampler="ddpm", steps=len(times) - 1, spacing=times, key=KEY)
    x = diffusion.sample(PAIR.denoiser(SCHEDULE), SCHEDULE, x_t, **settings)
    # p(other mode | x_t) is sigmoid(−2 d (d + z)), d the distance of the modes from their middle
    alpha, sigma = SCHEDULE.alpha(strength), SCHEDULE.sigma(strength)
    d = alpha * np.sqrt(2) / np.sqrt(sigma**2 + (0.1 * alpha) ** 2)
    z = np.random.default_rng(0).normal(size=200_000)
    left = np.mean(1 / (1 + np.exp(2 * d * (d + z))))
    observed = float(jnp.mean(x[:, 0] < 0))
    assert observed == pytest.approx(left, abs=4 * np.sqrt(left * (1 - left) / n))


@pytest.mark.parametrize("sampler, resample", [("ddpm", 1), ("ddim", 1), ("ddpm", 5)])
def test_inpainting_keeps_what_is_known(sampler, resample):
    n = 300
    known = jnp.tile(jnp.array([[1.0, 0.0]]), (n, 1))
    mask = jnp.tile(jnp.array([[True, False]]), (n, 1))
    x_T = diffusion.initial_noise(KEY, jnp.arange(n), (2,))
    settings = dict(sampler=sampler, steps=40, resample=resample, jump=8)
    x = editing.inpaint(
        PAIR.denoiser(SCHEDULE), SCHEDULE, x_T, known, mask, jax.random.key(1), **settings
    )
    np.testing.assert_array_equal(x[:, 0], 1.0)
    agrees = float(jnp.mean(x[:, 1] > 0.5))
    # replacement alone leaves disagreeing fillings, resampling mends them
    assert agrees > (0.97 if resample > 1 else 0.6)


def test_resampling_agrees_better_than_replacement():
    n = 500
    known = jnp.tile(jnp.array([[1.0, 0.0]]), (n, 1))
    mask = jnp.tile(jnp.array([[True, False]]), (n, 1))
    x_T = diffusion.initial_noise(KEY, jnp.arange(n), (2,))

    def wrong(resample):
        x = editing.inpaint(
            PAIR.denoiser(SCHEDULE),
            SCHEDULE,
            x_T,
            known,
            mask,
            KEY,
            steps=20,
            resample=resample,
            jump=4,
        )
        return float(jnp.mean(x[:, 1] < 0))

    assert wrong(6) < wrong(1)


def test_inpainting_refuses_samplers_that_cannot():
    x = jnp.zeros((1, 2))
    arguments = (lambda x, t: x, SCHEDULE, x, x, x > 0, KEY)
    with pytest.raises(ValueError, match="corrector"):
        editing.inpaint(*arguments, sampler="unipc", steps=5)
    with pytest.raises(ValueError, match="RePaint"):
        editing.inpaint(*arguments, sampler="dpmpp_2m", steps=5, resample=2)


def test_repaint_goes_back_and_down_again():
    times = []

    def denoiser(x, t):
        jax.debug.callback(lambda t: times.append(round(float(t), 6)), t[0], ordered=True)
        return 0 * x

    x = jnp.zeros((1, 2))
    settings = dict(sampler="ddim", steps=5, jump=2, resample=2)
    editing.inpaint(denoiser, SCHEDULE, x, x, x > 0, KEY, **settings)
    jax.effects_barrier()
    assert times == [1.0, 0.8, 1.0, 0.8, 0.6, 0.4, 0.6, 0.4, 0.2, 0.2]


def test_slerp():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 4, 2))
    a, b = (v / np.linalg.norm(v, axis=(1, 2), keepdims=True) for v in (a, b))
    np.testing.assert_allclose(editing.slerp(a, b, 0.0), a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(editing.slerp(a, b, 1.0), b, rtol=1e-5, atol=1e-6)
    middle = np.asarray(editing.slerp(a, b, jnp.full(3, 0.5)))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(
        np.sum(middle * a, axis=(1, 2)), np.sum(middle * b, axis=(1, 2)), rtol=1e-4
    )
    np.testing.assert_allclose(editing.slerp(a, a, 0.3), a, rtol=1e-5)


def test_ddim_inversion_comes_back_the_closer_the_more_steps():
    data = GaussianMixture(
        jnp.array([0.4, 0.6]), jnp.array([[0.5, -0.2], [-0.6, 0.3]]), jnp.array([0.3, 0.2])
    )
    x_0 = data.sample(jax.random.key(3), 64)
    denoiser = data.denoiser(SCHEDULE)
    errors = [
        float(jnp.mean(editing.reconstruction_error(denoiser, SCHEDULE, x_0, steps=n)))
        for n in (10, 50, 250)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    x_T = editing.ddim_inversion(denoiser, SCHEDULE, x_0, steps=250)
    assert float(jnp.std(x_T)) == pytest.approx(1, abs=0.15)  # the latent is noise


def test_inversion_of_a_gaussian_is_the_scaling_that_the_ode_makes():
    s = 0.5
    data = GaussianMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.array([s]))
    x_0 = jnp.array([[0.3], [-0.8]])
    x_T = editing.ddim_inversion(
        data.denoiser(SCHEDULE), SCHEDULE, x_0, steps=1000, spacing="linspace"
    )
    alpha, sigma = float(SCHEDULE.alpha(1.0)), float(SCHEDULE.sigma(1.0))
    np.testing.assert_allclose(x_T / x_0, np.sqrt(alpha**2 * s**2 + sigma**2) / s, rtol=2e-2)
