import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion import guidance
from dalle_jax.diffusion.analytic import GaussianMixture

COSINE = diffusion.CONTINUOUS["cosine"]()
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(3, 4, 4, 2)), jnp.float32)
T = jnp.array([0.2, 0.5, 0.8])
COND, UNCOND = jnp.asarray(RNG.normal(size=(2, 3, 2)), jnp.float32)


def denoise(x_t, t, condition):
    return jnp.tanh(x_t * (1 - t[:, None, None, None]) + condition[:, None, None])


def test_classifier_free():
    cond, uncond = denoise(X, T, COND), denoise(X, T, UNCOND)
    guided = guidance.classifier_free(denoise, COND, UNCOND, 3.0)(X, T)
    np.testing.assert_allclose(guided, uncond + 3 * (cond - uncond), rtol=1e-5)
    each = guidance.classifier_free(denoise, COND, UNCOND, jnp.array([0.0, 1.0, 2.0]))(X, T)
    np.testing.assert_allclose(each[0], uncond[0], rtol=1e-6)
    np.testing.assert_allclose(each[1], cond[1], rtol=1e-5)


def test_guiding_x0_is_guiding_eps():
    alpha, sigma = COSINE.alpha(T), COSINE.sigma(T)

    def eps(x0):
        return diffusion.from_x0(x0, X, alpha, sigma, "eps")

    guided = guidance.classifier_free(denoise, COND, UNCOND, 2.5)(X, T)
    cond, uncond = eps(denoise(X, T, COND)), eps(denoise(X, T, UNCOND))
    np.testing.assert_allclose(eps(guided), uncond + 2.5 * (cond - uncond), rtol=1e-3, atol=1e-4)


def test_both_halves_in_one_call_and_one_half_at_scale_1():
    batches = []

    def counting(x_t, t, condition):
        batches.append(x_t.shape[0])
        return denoise(x_t, t, condition)

    guidance.classifier_free(counting, COND, UNCOND, 3.0)(X, T)
    guidance.classifier_free(counting, COND, UNCOND, 1.0)(X, T)
    assert batches == [6, 3]


def test_rescale_brings_back_the_deviation():
    cond = denoise(X, T, COND)
    plain = guidance.classifier_free(denoise, COND, UNCOND, 5.0)(X, T)
    full = guidance.classifier_free(denoise, COND, UNCOND, 5.0, rescale=1.0)(X, T)
    axes = (1, 2, 3)
    np.testing.assert_allclose(jnp.std(full, axes), jnp.std(cond, axes), rtol=1e-5)
    some = guidance.classifier_free(denoise, COND, UNCOND, 5.0, rescale=0.7)(X, T)
    np.testing.assert_allclose(some, 0.7 * full + 0.3 * plain, rtol=1e-4, atol=1e-6)


def test_learned_variance_is_the_conditional_half_s():
    def with_variance(x_t, t, condition):
        x0 = denoise(x_t, t, condition)
        return diffusion.Denoised(x0, jax.nn.sigmoid(x0))

    output = guidance.classifier_free(with_variance, COND, UNCOND, 3.0)(X, T)
    np.testing.assert_allclose(
        output.variance_fraction, jax.nn.sigmoid(denoise(X, T, COND)), rtol=1e-6
    )
    clipped = guidance.static_threshold(lambda x, t: output)(X, T)
    assert isinstance(clipped, diffusion.Denoised)
    np.testing.assert_allclose(clipped.x0, jnp.clip(output.x0, -1, 1))


def test_autoguidance():
    strong, weak = (lambda x, t: 0.5 * x), (lambda x, t: 0.3 * x)
    np.testing.assert_allclose(guidance.autoguidance(strong, weak, 2.0)(X, T), 0.7 * X, rtol=1e-5)


def test_interval_computes_one_side_only():
    calls = {"inside": 0, "outside": 0}

    def side(name):
        def denoiser(x_t, t):
            def count(_):
                calls[name] += 1

            jax.debug.callback(count, t[0])
            return 0.5 * x_t

        return denoiser

    guided = guidance.on_interval(
        COSINE, (0.3, 5.0), inside=side("inside"), outside=side("outside")
    )
    grid = diffusion.time_grid(COSINE, 20, "trailing")
    x = diffusion.sample(guided, COSINE, X, sampler="ddim", steps=20, spacing="trailing")
    jax.block_until_ready(x)
    jax.effects_barrier()
    ratio = (grid.sigma / grid.alpha)[:-1]
    inside = int(((ratio > 0.3) & (ratio <= 5.0)).sum())
    assert 0 < inside < 20
    assert calls == {"inside": inside, "outside": 20 - inside}


def test_interval_changes_nothing_when_it_is_the_whole_line():
    guided = guidance.classifier_free(denoise, COND, UNCOND, 3.0)
    always = guidance.on_interval(COSINE, (0.0, np.inf), inside=guided, outside=lambda x, t: 0 * x)
    np.testing.assert_allclose(always(X, T), guided(X, T), rtol=1e-5)


def test_an_interval_has_two_ends():
    for interval in (3.0, (1.0, 2.0, 3.0), "all"):
        with pytest.raises(ValueError, match="two noise levels"):
            guidance.on_interval(COSINE, interval, inside=denoise, outside=denoise)


def test_gradient_of_a_gaussian_score_leads_to_its_posterior():
    """Guidance by log p(y | x_t), all Gaussian: the exact denoiser of x_0 given y comes out."""
    s2, noise2, y = 0.5, 0.2, jnp.array([0.7])
    prior = GaussianMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.array([s2**0.5]))
    # x_0 | y is N(m, c)
    c = 1 / (1 / s2 + 1 / noise2)
    posterior = GaussianMixture(jnp.ones(1), c / noise2 * y[None], jnp.array([c**0.5]))

    def score(x_t, t):
        # y = x_0 + noise, and x_0 | x_t ~ N(gain x_t, left)
        alpha, sigma = COSINE.alpha(t), COSINE.sigma(t)
        v = alpha**2 * s2 + sigma**2
        gain, left = alpha * s2 / v, s2 * sigma**2 / v
        return -((y[0] - gain * x_t[:, 0]) ** 2) / (2 * (left + noise2))

    x = jnp.array([[0.3], [-1.0], [2.0]])
    guided = guidance.gradient(prior.denoiser(COSINE), score, COSINE)(x, T)
    np.testing.assert_allclose(guided, posterior.denoiser(COSINE)(x, T), rtol=1e-4)


def test_thresholds():
    x0 = jnp.linspace(-3, 3, 2 * 101).reshape(2, 101)
    np.testing.assert_allclose(
        guidance.static_threshold(lambda x, t: x0)(x0, T), jnp.clip(x0, -1, 1)
    )
    dynamic = np.asarray(guidance.dynamic_threshold(lambda x, t: x0, 0.9)(x0, T))
    for row, before in zip(dynamic, np.asarray(x0)):
        s = max(1.0, np.quantile(np.abs(before), 0.9))
        np.testing.assert_allclose(row, np.clip(before, -s, s) / s, rtol=1e-5)
    small = 0.1 * x0
    np.testing.assert_allclose(guidance.dynamic_threshold(lambda x, t: small)(x0, T), small)


def test_they_compose():
    guided = guidance.dynamic_threshold(
        guidance.on_interval(
            COSINE,
            (0.1, 10.0),
            inside=guidance.classifier_free(denoise, COND, UNCOND, 4.0, rescale=0.5),
            outside=lambda x, t: denoise(x, t, COND),
        )
    )
    x = jax.jit(lambda x: diffusion.sample(guided, COSINE, x, steps=8))(X)
    assert float(jnp.abs(x).max()) <= 1.0


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_conditions_may_be_any_tree(scale):
    tree = {"a": COND, "b": (UNCOND,)}
    other = {"a": UNCOND, "b": (COND,)}

    def of_tree(x_t, t, condition):
        return denoise(x_t, t, condition["a"] + condition["b"][0])

    guided = guidance.classifier_free(of_tree, tree, other, scale)(X, T)
    np.testing.assert_allclose(guided, denoise(X, T, COND + UNCOND), rtol=1e-5)
