"""`sample` as a whole: marginals of the stochastic samplers, invariance, callbacks, compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dalle_jax import diffusion
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.diffusion.samplers import SAMPLERS

COSINE = diffusion.CONTINUOUS["cosine"]()
LINEAR = diffusion.discrete("linear")
KEY = jax.random.key(5)
STOCHASTIC = {
    "ddpm fixed_small": dict(sampler="ddpm"),
    "ddpm fixed_large": dict(sampler="ddpm", variance="fixed_large"),
    "ddpm learned": dict(sampler="ddpm", variance="learned"),
    "ddim eta": dict(sampler="ddim", eta=0.6),
    "euler churn": dict(sampler="euler", churn=10.0, churn_max=30.0),
    "heun churn": dict(sampler="heun", churn=60.0, churn_max=30.0),
    "dpmpp_sde_2m": dict(sampler="dpmpp_sde_2m"),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_marginals_on_gaussian_data(name):
    """Mean and variance of the samples are those of the data, N(0.4, 0.6²), at fine steps."""
    settings, steps = STOCHASTIC[name], 3000 if name == "ddim eta" else 1500
    mean, deviation = 0.4, 0.6

    def denoiser(x_t, t):
        alpha, sigma = COSINE.alpha(t)[:, None], COSINE.sigma(t)[:, None]
        v = alpha**2 * deviation**2 + sigma**2
        x0 = mean + alpha * deviation**2 / v * (x_t - alpha * mean)
        if settings.get("variance") == "learned":
            return diffusion.Denoised(x0, jnp.full_like(x0, 0.5))
        return x0

    batch, dim = 50, 400
    x_T = diffusion.initial_noise(KEY, jnp.arange(batch), (dim,))
    options = dict(steps=steps, spacing="logsnr", sigma_max=500.0, **settings)
    x = np.asarray(diffusion.sample(denoiser, COSINE, x_T, key=KEY, **options), np.float64)
    n = batch * dim
    # 2.6 standard errors hold 99 % of draws; what the steps of a finite chain leave is below one.
    assert x.mean() == pytest.approx(mean, abs=2.6 * deviation / np.sqrt(n))
    assert x.var() == pytest.approx(deviation**2, abs=2.6 * deviation**2 * np.sqrt(2 / n))


def test_the_chain_of_ddpm_has_the_variance_of_its_own_recursion():
    """At 10 coarse steps the data's variance is not met; that of the linear recursion is."""
    deviation, steps, n = 0.6, 10, 40_000
    schedule = diffusion.discrete("linear")
    t = np.append(np.arange(steps, 0, -1) / steps, 0.0)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    for variance, name in ((0, "fixed_small"), (1, "fixed_large")):
        v = 1.0
        for i in range(steps):
            ts = alpha[i] / alpha[i + 1]
            beta = sigma[i] ** 2 - ts**2 * sigma[i + 1] ** 2
            gain = alpha[i] * deviation**2 / (alpha[i] ** 2 * deviation**2 + sigma[i] ** 2)
            factor = (ts * sigma[i + 1] ** 2 + alpha[i + 1] * beta * gain) / sigma[i] ** 2
            noise = beta if variance else beta * sigma[i + 1] ** 2 / sigma[i] ** 2
            v = factor**2 * v + (noise if i < steps - 1 else 0.0)
        data = GaussianMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.array([deviation]))
        x_T = diffusion.initial_noise(KEY, jnp.arange(n), (1,))
        settings = dict(sampler="ddpm", variance=name, steps=steps, key=KEY)
        x = diffusion.sample(data.denoiser(schedule), schedule, x_T, **settings)
        assert float(jnp.var(x)) == pytest.approx(v, abs=4 * v * np.sqrt(2 / n))


INVARIANT = {**STOCHASTIC, "unipc": dict(sampler="unipc"), "dpmpp_3m": dict(sampler="dpmpp_3m")}


def network(x_t, t):
    return jnp.tanh(x_t + t[:, None, None])


def draw(index, **settings):
    def denoiser(x_t, t):
        x0 = network(x_t, t)
        if settings.get("variance") == "learned":
            return diffusion.Denoised(x0, jax.nn.sigmoid(x_t))
        return x0

    x_T = diffusion.initial_noise(KEY, index, (3, 2))
    return diffusion.sample(denoiser, COSINE, x_T, steps=7, key=KEY, sample_index=index, **settings)


@pytest.mark.parametrize("settings", INVARIANT.values(), ids=INVARIANT.keys())
def test_a_sample_does_not_depend_on_its_batch(settings):
    whole = np.asarray(draw(jnp.arange(32), **settings))
    np.testing.assert_allclose(draw(jnp.array([11]), **settings)[0], whole[11], atol=1e-6)
    seven = jnp.array([30, 2, 11, 0, 5, 31, 17])
    np.testing.assert_allclose(draw(seven, **settings), whole[np.asarray(seven)], atol=1e-6)
    assert np.abs(whole[0] - whole[1]).max() > 1e-2


@pytest.mark.parametrize("settings", INVARIANT.values(), ids=INVARIANT.keys())
def test_a_sample_does_not_depend_on_the_number_of_devices(settings):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    spread = NamedSharding(mesh, PartitionSpec("data"))
    index = jnp.arange(32)
    one = np.asarray(draw(index, **settings))
    eight = jax.jit(lambda i: draw(i, **settings), in_shardings=spread, out_shardings=spread)
    spread_index = jax.device_put(index, spread)
    result = eight(spread_index)
    assert len(result.sharding.device_set) == 8
    np.testing.assert_allclose(result, one, atol=1e-6)


def test_the_steps_draw_different_noise():
    x = diffusion.sample(
        lambda x, t: x, COSINE, jnp.zeros((2, 1000)), sampler="ddpm", steps=3, key=KEY
    )
    initial = diffusion.initial_noise(KEY, jnp.arange(2), (1000,))
    correlation = np.corrcoef(np.concatenate([x, initial]))
    assert np.abs(correlation - np.eye(4)).max() < 5 / np.sqrt(1000)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", ["rectified_flow", "zero terminal"])
def test_from_pure_noise(sampler, name):
    """alpha(1) = 0: every sampler starts there, and the outcome is finite and x0's."""
    schedule = (
        diffusion.CONTINUOUS[name]()
        if name in diffusion.CONTINUOUS
        else diffusion.zero_terminal_snr(LINEAR)
    )
    x = diffusion.sample(
        lambda x, t: jnp.full_like(x, 0.3), schedule, jnp.ones((2, 3)), sampler=sampler, key=KEY
    )
    np.testing.assert_allclose(x, 0.3, atol=1e-5)


def test_callback_sees_every_evaluation_in_order_and_changes_nothing():
    seen = []

    def callback(step, total, x0):
        seen.append((int(step), int(total), x0.shape, float(x0[0, 0])))

    def denoiser(x, t):
        return 0.9 * x

    x_T = jnp.ones((2, 3))
    plain = diffusion.sample(denoiser, COSINE, x_T, sampler="ddim", steps=5)
    shown = jax.jit(
        lambda x: diffusion.sample(denoiser, COSINE, x, sampler="ddim", steps=5, callback=callback)
    )(x_T)
    jax.effects_barrier()
    assert [s[:3] for s in seen] == [(i, 5, (2, 3)) for i in range(1, 6)]
    assert seen[0][3] == pytest.approx(0.9)
    np.testing.assert_allclose(shown, plain, rtol=1e-6)


def test_noise_needs_a_key():
    with pytest.raises(ValueError, match="give key"):
        diffusion.sample(lambda x, t: x, COSINE, jnp.ones((1, 1)), sampler="ddpm", steps=3)


def test_learned_variance_needs_a_denoiser_that_has_it():
    with pytest.raises(ValueError, match="Denoised"):
        diffusion.sample(
            lambda x, t: x,
            COSINE,
            jnp.ones((1, 1)),
            sampler="ddpm",
            variance="learned",
            steps=3,
            key=KEY,
        )


def test_learned_variance_between_its_bounds_is_that_of_the_fixed_ones():
    def sampled(output, **settings):
        return diffusion.sample(
            output, LINEAR, jnp.ones((4, 3)), sampler="ddpm", steps=6, key=KEY, **settings
        )

    for fraction, variance in ((0.0, "fixed_small"), (1.0, "fixed_large")):
        learned = sampled(
            lambda x, t, f=fraction: diffusion.Denoised(0.7 * x, jnp.full_like(x, f)),
            variance="learned",
        )
        fixed = sampled(lambda x, t: 0.7 * x, variance=variance)
        np.testing.assert_allclose(learned, fixed, rtol=1e-4, atol=1e-5)


def test_bfloat16_input_is_solved_in_float32():
    x = diffusion.sample(lambda x, t: 0.5 * x, COSINE, jnp.ones((1, 2), jnp.bfloat16), steps=4)
    assert x.dtype == jnp.float32


def test_fifty_steps_are_one_scan():
    """The program of 50 steps is that of 5: nothing is unrolled."""

    def lines(steps):
        program = jax.jit(lambda x: diffusion.sample(network, COSINE, x, steps=steps))
        return len(program.lower(jnp.ones((1, 3, 2))).as_text().splitlines())

    assert lines(50) == lines(5)
