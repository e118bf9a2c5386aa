import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dalle_jax import diffusion
from dalle_jax.diffusion import vlb
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.diffusion.discrete import from_betas


def test_discretized_likelihood_is_a_distribution_over_256_values():
    values = np.arange(256) / 127.5 - 1
    with jax.enable_x64(True):
        for mean, deviation in ((0.3, 0.5), (-1.2, 0.01), (0.0, 1e-3)):
            log_p = vlb.discretized_log_likelihood(values, mean, 2 * np.log(deviation))
            assert float(jnp.sum(jnp.exp(log_p))) == pytest.approx(1, abs=1e-9)
            assert np.isfinite(np.asarray(log_p)).all()
        edges = values[100] + np.array([-1, 1]) / 255
        expected = np.log(np.diff(stats.norm.cdf(edges, 0.3, 0.5))[0])
        log_p = vlb.discretized_log_likelihood(values[100], 0.3, 2 * np.log(0.5))
        assert float(log_p) == pytest.approx(expected, rel=1e-9)


def test_discretized_likelihood_far_away_in_float32_is_finite():
    x = jnp.array([-1.0, 0.2, 1.0])
    log_p, slope = jax.vmap(
        jax.value_and_grad(lambda x, m: vlb.discretized_log_likelihood(x, m, jnp.float32(-12.0)), 1)
    )(x, jnp.array([0.9, -0.9, -0.5]))
    assert np.isfinite(np.asarray(log_p)).all() and (np.asarray(log_p) < -100).all()
    assert np.isfinite(np.asarray(slope)).all()


def gaussian_bound(betas, s2, x_0_variance):
    """E of the bound over x_0 ~ N(0, v) in nats, by hand: all is Gaussian and linear.

    Model: the exact denoiser of N(0, s2) data, x0_hat = c_n x_n, and variance β_n (β̃_2 at n = 1).
    """
    alpha_bar = np.cumprod(1 - betas)
    before = np.append(1.0, alpha_bar[:-1])
    small = betas * (1 - before) / (1 - alpha_bar)
    total = 0.0
    for n in range(len(betas)):
        a, v = alpha_bar[n], x_0_variance
        c = np.sqrt(a) * s2 / (a * s2 + 1 - a)
        # x0_hat − x_0 = c (√a x_0 + √(1−a) ε) − x_0
        error = (c * np.sqrt(a) - 1) ** 2 * v + c**2 * (1 - a)
        of_x0 = np.sqrt(before[n]) * betas[n] / (1 - a)
        if n == 0:
            # the mean of x_0 given x_1 is x0_hat itself (of_x0 = 1, no x_1)
            total += 0.5 * (np.log(2 * np.pi * small[1]) + error / small[1])
        else:
            ratio = small[n] / betas[n]
            total += 0.5 * (ratio - 1 - np.log(ratio) + of_x0**2 * error / betas[n])
    a = alpha_bar[-1]
    return total + 0.5 * (a * x_0_variance + (1 - a) - 1 - np.log(1 - a))


def test_bound_of_a_gaussian_model_is_the_analytic_one():
    T, s2 = 40, 0.36
    betas = np.linspace(0.004, 0.35, T)
    with jax.enable_x64(True):
        schedule = from_betas(betas)
        data = GaussianMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.array([np.sqrt(s2)]))
        x_0 = np.sqrt(s2) * jax.random.normal(jax.random.key(1), (40_000, 1))
        bound = vlb.variational_bound(
            data.denoiser(schedule), schedule, x_0, jax.random.key(2), decoder="gaussian"
        )
        bits, x_0_variance = np.asarray(bound.bits_per_dim), float(jnp.mean(x_0**2))
    expected = gaussian_bound(betas, s2, x_0_variance) / np.log(2)
    entropy = 0.5 * np.log2(2 * np.pi * np.e * s2)
    assert bits.mean() == pytest.approx(expected, abs=4 * bits.std() / np.sqrt(len(bits)))
    assert expected > entropy  # a bound from above on the code length


def test_the_gap_of_a_long_chain_is_that_of_its_first_step():
    # β̃_2 → β / 2 stands for x_0 given x_1, whose variance is β: log(1/2) / 2 + 2 / 2 − 1 / 2 nats
    s2 = 0.36
    betas = 1 - np.exp(-np.linspace(0.1, 20, 20_000) / 20_000)
    gap = gaussian_bound(betas, s2, s2) - 0.5 * np.log(2 * np.pi * np.e * s2)
    assert gap == pytest.approx((1 - np.log(2)) / 2, abs=5e-3)


def test_learned_variance_lies_between_the_fixed_ones():
    schedule = diffusion.discrete("cosine", 20)
    x_0 = jax.random.normal(jax.random.key(0), (3, 5)) / 3
    t = jnp.array([0.05, 0.5, 1.0])
    x_t = diffusion.losses.add_noise(x_0, jnp.ones_like(x_0), schedule, t)

    def term(output, **options):
        return np.asarray(vlb.vlb_term(output, x_0, x_t, t, schedule, 20, **options))

    def fraction(f):
        return diffusion.Denoised(0.5 * x_t, jnp.full_like(x_t, f))

    small, large = (term(0.5 * x_t, variance=v) for v in ("fixed_small", "fixed_large"))
    np.testing.assert_allclose(term(fraction(0.0)), small, rtol=1e-5)
    np.testing.assert_allclose(term(fraction(1.0))[1:], large[1:], rtol=1e-5)


def test_hybrid_term_trains_the_variance_alone():
    schedule = diffusion.discrete("cosine", 50)
    x_0 = jnp.zeros((2, 4))
    t = jnp.array([0.02, 0.6])

    def loss(mean, fraction):
        output = diffusion.Denoised(mean, fraction)
        return jnp.sum(vlb.hybrid_vlb_term(output, x_0, 0.3 + x_0, t, schedule, 50))

    of_mean, of_fraction = jax.grad(loss, (0, 1))(0.1 + x_0, 0.4 + x_0)
    assert (of_mean == 0).all() and (of_fraction != 0).all()
    assert np.isfinite(np.asarray(of_fraction)).all()


def test_rate_and_distortion():
    schedule = diffusion.discrete("linear", 30)
    x_0 = jnp.clip(jax.random.normal(jax.random.key(0), (4, 8)) / 2, -1, 1)
    bound = vlb.variational_bound(lambda x, t: x, schedule, x_0, jax.random.key(1))
    rate, distortion = vlb.rate_distortion(bound)
    assert rate.shape == distortion.shape == (4, 30)
    assert (np.diff(rate, axis=1) >= -1e-6).all()
    np.testing.assert_allclose(rate[:, 0], bound.prior, rtol=1e-6)
    np.testing.assert_allclose(rate[:, -1] + bound.terms[:, 0], bound.bits_per_dim, rtol=1e-5)
    np.testing.assert_allclose(distortion[:, 0], 127.5 * np.sqrt(bound.mse[:, -1]), rtol=1e-6)


def test_ddpm_s_prior_term_is_1e_5_bits():
    # DDPM §4: L_T ≈ 1e-5 bits/dim for images; unit-variance data here
    bits = vlb.prior_bits(jnp.ones((1, 10)), diffusion.discrete("linear"))
    assert 1e-6 < float(bits[0]) < 1e-4


def test_the_bound_needs_a_number_of_steps():
    with pytest.raises(ValueError, match="give num_timesteps"):
        vlb.variational_bound(
            lambda x, t: x, diffusion.CONTINUOUS["cosine"](), jnp.zeros((1, 2)), jax.random.key(0)
        )
