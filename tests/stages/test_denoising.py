"""The loss that all denoising stages share, against formulas worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from dalle_jax import diffusion
from dalle_jax.configs import unclip_tiny
from dalle_jax.diffusion import chain
from dalle_jax.stages import build_stage
from dalle_jax.stages.denoising import Denoising, by_time_bin, schedule_named

T = 4
PREDICTION, VARIANCE = np.array([0.1, -0.2, 0.3]), np.array([-0.5, 0.2, 0.7])


def hybrid(**changes):
    settings = {"target": "eps", "weighting": "simple", "learned_variance": True, **changes}
    return Denoising(schedule_named("cosine", T), **settings)


def cosine_table():
    """Improved DDPM, equation 17: β and ᾱ of steps 1 … T, ᾱ_0 = 1 before them."""
    f = lambda u: np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    n = np.arange(1, T + 1)
    beta = np.minimum(1 - f(n / T) / f((n - 1) / T), 0.999)
    return beta, np.concatenate([[1.0], np.cumprod(1 - beta)])


def by_hand(x_0, x_t, n, predicts="eps", learned=True):
    """(squared error, 0.001 · T · L_n) of one pixel in three channels; Σ learned, or β."""

    def mean(x0):  # DDPM, equation 7
        of_x0 = np.sqrt(ABAR[n - 1]) * BETA[n - 1] / (1 - ABAR[n])
        of_xt = np.sqrt(1 - BETA[n - 1]) * (1 - ABAR[n - 1]) / (1 - ABAR[n])
        return of_x0 * x0 + of_xt * x_t

    if predicts == "eps":
        target = (x_t - np.sqrt(ABAR[n]) * x_0) / np.sqrt(1 - ABAR[n])
        mean_hat = mean((x_t - np.sqrt(1 - ABAR[n]) * PREDICTION) / np.sqrt(ABAR[n]))
    else:
        target, mean_hat = mean(x_0), PREDICTION
    lower = lambda n: BETA[n - 1] * (1 - ABAR[n - 1]) / (1 - ABAR[n])
    small = lower(max(n, 2))  # β̃_1 is 0; its place takes β̃_2
    fraction = (VARIANCE + 1) / 2 if learned else float(n > 1)
    variance = np.exp(fraction * np.log(BETA[n - 1]) + (1 - fraction) * np.log(small))
    if n > 1:
        gap = mean(x_0) - mean_hat
        nats = 0.5 * (np.log(variance / small) + (small + gap**2) / variance - 1)
    else:
        edges = [(x_0 + s / 255 - mean_hat) / np.sqrt(variance) for s in (1, -1)]
        nats = -np.log(norm.cdf(edges[0]) - norm.cdf(edges[1]))
    return np.mean((PREDICTION - target) ** 2), 0.001 * T * np.mean(nats) / np.log(2)


BETA, ABAR = cosine_table()


@pytest.mark.parametrize("target", ["eps", "mean"])
@pytest.mark.parametrize(
    ("weighting", "learned"),
    [("simple", True), ("bound", True), ("bound", False), ("simple", False)],
)
def test_the_losses_of_one_pixel(target, weighting, learned):
    stage = hybrid(target=target, weighting=weighting, learned_variance=learned)
    x_0 = jnp.array([0.6, -0.4, 0.2]).reshape(1, 1, 1, 3)
    seen = {}

    def network(x_t, t):
        seen["x_t"], seen["n"] = np.asarray(x_t, np.float64).ravel(), round(float(t[0]) * T)
        output = np.concatenate([PREDICTION, VARIANCE]) if learned else PREDICTION
        return jnp.asarray(output, jnp.float32).reshape(1, 1, 1, -1)

    steps = set()
    for seed in range(12):
        t_key, eps_key = jax.random.split(jax.random.key(seed))
        loss, metrics = stage.loss(network, x_0, t_key, eps_key, train=True)
        pixel = np.array([0.6, -0.4, 0.2])
        error, bound = by_hand(pixel, seen["x_t"], seen["n"], target, learned)
        expected = error * (weighting == "simple") + bound * (learned or weighting == "bound")
        np.testing.assert_allclose(loss, expected, rtol=2e-4)
        np.testing.assert_allclose(metrics["mse"], error, rtol=2e-4)
        if "vlb" in metrics:
            np.testing.assert_allclose(metrics["vlb"], 1000 * bound, rtol=2e-4)
        steps.add(seen["n"])
    assert steps == {1, 2, 3, 4}


@pytest.mark.parametrize("target", ["eps", "mean"])
def test_the_bound_alone_trains_mean_and_variance(target):
    x_0 = jax.random.uniform(jax.random.key(0), (4, 2, 2, 3), minval=-1)
    stage = hybrid(target=target, weighting="bound")

    def loss(output):
        keys = jax.random.split(jax.random.key(1))
        return stage.loss(lambda x_t, t: output, x_0, *keys, train=True)[0]

    gradient = jax.grad(loss)(0.3 * jax.random.normal(jax.random.key(2), (4, 2, 2, 6)))
    assert jnp.all(gradient != 0) and jnp.isfinite(gradient).all()


def test_a_predicted_mean_is_that_of_its_x0():
    stage = hybrid(target="mean", learned_variance=False)
    x_0 = jax.random.uniform(jax.random.key(0), (T, 2, 2, 3), minval=-1)
    t = jnp.arange(1, T + 1) / T
    x_t = x_0 + 0.5
    network = lambda x_t, t: chain.posterior_mean(x_0, x_t, chain.chain_step(t, stage.schedule, T))
    np.testing.assert_allclose(stage.denoiser(network)(x_t, t), x_0, atol=1e-4)


def test_the_hybrid_s_bound_trains_the_variance_alone():
    x_0 = jax.random.uniform(jax.random.key(0), (4, 2, 2, 3), minval=-1)
    t_key, eps_key = jax.random.split(jax.random.key(1))

    def loss(output, stage):
        return stage.loss(lambda x_t, t: output, x_0, t_key, eps_key, train=True)[0]

    output = 0.3 * jax.random.normal(jax.random.key(2), (4, 2, 2, 6))
    gradient = jax.grad(loss)(output, hybrid())
    simple = jax.grad(loss)(output[..., :3], hybrid(learned_variance=False))
    np.testing.assert_allclose(gradient[..., :3], simple, rtol=1e-5, atol=1e-8)
    assert jnp.all(gradient[..., 3:] != 0)


def test_sampling_follows_the_learned_variance():
    def draw(v):
        network = lambda x_t, t: jnp.concatenate([0.5 * x_t, jnp.full_like(x_t, v)], axis=-1)
        stage = hybrid()
        return stage.sample(
            stage.denoiser(network),
            jax.random.key(0),
            jnp.arange(64),
            (4, 4, 3),
            sampler="ddpm",
            variance="learned",
            num_inference_steps=T,
            threshold="none",
        )

    # At v = ±1 the variance is that of the two fixed samplers.
    low, high = draw(-1.0), draw(1.0)
    assert jnp.abs(high - low).max() > 0.1

    def fixed(variance):
        stage = hybrid(learned_variance=False)
        return stage.sample(
            stage.denoiser(lambda x_t, t: 0.5 * x_t),
            jax.random.key(0),
            jnp.arange(64),
            (4, 4, 3),
            sampler="ddpm",
            variance=variance,
            num_inference_steps=T,
            threshold="none",
        )

    np.testing.assert_allclose(low, fixed("fixed_small"), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(high, fixed("fixed_large"), rtol=1e-3, atol=1e-3)


def test_what_is_of_a_chain_needs_its_steps():
    for of in (("eps", "simple", (), True), ("mean", "simple"), ("eps", "bound")):
        with pytest.raises(ValueError, match=r"of one step of a chain: give diffusion\.num_timest"):
            Denoising(schedule_named("cosine"), *of)


def test_a_target_that_needs_a_scaled_input_is_refused():
    with pytest.raises(ValueError, match='target "edm" needs a scaled input'):
        Denoising(schedule_named("cosine"), "edm", "simple")
    with pytest.raises(ValueError, match='in schedule "edm" x_t grows'):
        Denoising(schedule_named("edm"), "v", "simple")


def test_time_bins_average_to_the_whole():
    t = jnp.linspace(0, 0.999, 40)
    errors = jax.random.uniform(jax.random.key(0), (40,))
    bins = by_time_bin(errors, t)
    assert len(bins) == 10
    np.testing.assert_allclose(np.mean(list(bins.values())), errors.mean(), rtol=1e-5)


@pytest.mark.parametrize("num_timesteps", [0, 100])
def test_a_schedule_is_rescaled_to_end_in_noise_alone(num_timesteps):
    before = schedule_named("scaled_linear", num_timesteps)
    after = schedule_named("scaled_linear", num_timesteps, zero_terminal_snr=True)
    assert before.alpha(1.0) > 0.06 and after.alpha(1.0) == 0
    with pytest.raises(ValueError, match="preserve variance, which edm does not"):
        schedule_named("edm", zero_terminal_snr=True)


def test_a_sample_takes_the_sampler_s_evaluations_and_two_passes_each_where_guided():
    schedule = schedule_named("cosine")
    denoising = Denoising(schedule, target="v", weighting="simple")
    for sampler, scale, times in (("ddim", 1.0, 1), ("unipc", 3.0, 2), ("heun", 3.0, 2)):
        evaluations = diffusion.network_evaluations(schedule, sampler=sampler, steps=7)
        settings = {"sampler": sampler, "num_inference_steps": 7, "guidance_scale": scale}
        assert denoising.passes(**settings) == times * evaluations
        assert denoising.passes(**settings, threshold="none") == times * evaluations


def test_stages_say_how_many_passes_a_sample_takes():
    config = unclip_tiny.get_config().to_dict()
    passes = {
        name: build_stage(name, config).passes(**config[name].get("sample", {}))
        for name in config["stages"]
    }
    # Two steps each; two candidates of the prior, and guidance in the decoder.
    assert passes == {"clip": 0, "prior": 4, "decoder": 4, "upsampler": 2, "joint": 0}
    config["prior"]["kind"] = "autoregressive"
    sampling = config["prior"]["sample"]
    assert build_stage("prior", config).passes(**sampling) == 2
    assert build_stage("prior", config).passes(**{**sampling, "guidance_scale": 2.0}) == 4
