"""The variational bound: its terms, L_hybrid, bits per dimension, rate and distortion.

For neighbouring times s < t of the chain of T steps (DDPM, equation 5)

    L_n = KL(q(x_s | x_t, x_0) ‖ p(x_s | x_t)),   L_1 = −log p(x_0 | x_1)
    L_prior = KL(q(x_T | x_0) ‖ N(0, I))

all in bits per dimension here. Times t [B] are the steps n / T of the chain.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, Denoised, Denoiser, per_sample, x0_of
from dalle_jax.diffusion.chain import chain_step, posterior_mean
from dalle_jax.diffusion.losses import add_noise
from dalle_jax.diffusion.noise import normal_like
from dalle_jax.diffusion.schedules import Schedule

DECODERS = ("discretized", "gaussian")


class VariationalBound(NamedTuple):
    """The terms of the bound from n = 1 to n = T, as `variational_bound` returns them."""

    terms: Array  # [B, T] L_n, bits per dimension
    prior: Array  # [B] L_prior, bits per dimension
    mse: Array  # [B, T] mean squared error of x0_hat

    @property
    def bits_per_dim(self) -> Array:
        """The whole bound [B]."""
        return jnp.sum(self.terms, axis=1) + self.prior


def normal_kl(mean_1: Array, log_variance_1: Array, mean_2: Array, log_variance_2: Array) -> Array:
    """KL(N_1 ‖ N_2) of each element, in nats."""
    difference = log_variance_1 - log_variance_2
    return 0.5 * (
        jnp.expm1(difference) - difference + jnp.square(mean_1 - mean_2) * jnp.exp(-log_variance_2)
    )


def discretized_log_likelihood(x_0: Array, mean: Array, log_variance: Array) -> Array:
    """log of the mass that N(mean, variance) puts on the bin of x_0 (DDPM, equation 13).

    x_0 takes 256 values in [−1, 1]; a bin is x_0 ± 1/255, and the two outermost extend to ±∞.
    """
    scale = jnp.exp(-log_variance / 2)
    upper, lower = (x_0 - mean + 1 / 255) * scale, (x_0 - mean - 1 / 255) * scale
    # Φ(upper) − Φ(lower) on the side where both are small, which keeps precision in the tails
    flip = x_0 > mean
    low, high = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
    log_high, log_low = jax.scipy.stats.norm.logcdf(high), jax.scipy.stats.norm.logcdf(low)
    inner = log_high + jnp.log(-jnp.expm1(jnp.minimum(log_low - log_high, -1e-12)))
    at_bottom, at_top = x_0 < -0.999, x_0 > 0.999
    first, last = jax.scipy.stats.norm.logcdf(upper), jax.scipy.stats.norm.logcdf(-lower)
    return jnp.where(at_bottom, first, jnp.where(at_top, last, inner))


def vlb_term(
    output: Array | Denoised,
    x_0: Array,
    x_t: Array,
    t: Array,
    schedule: Schedule,
    num_timesteps: int,
    *,
    variance: str = "fixed_large",
    decoder: str = "discretized",
) -> Array:
    """L_n [B] in bits per dimension at steps t = n / num_timesteps [B], from a denoiser's output.

    The model's variance is "fixed_small" (β̃), "fixed_large" (β) or, with a `Denoised` output,
    between them in log space; at n = 1, where β̃ is 0, both fixed ones and the lower bound take
    β̃ of n = 2 (DDPM's and Improved DDPM's code). `decoder` is the likelihood of L_1: "discretized"
    for images of 256 values in [−1, 1], "gaussian" a density for continuous data.
    """
    if decoder not in DECODERS:
        raise ValueError(f'no decoder "{decoder}"; known are {", ".join(DECODERS)}')
    step = chain_step(t, schedule, num_timesteps)
    log_small, log_large = (per_sample(jnp.log(v), x_t) for v in (step.small, step.large))

    if isinstance(output, Denoised):
        log_variance = log_small + output.variance_fraction * (log_large - log_small)
    elif variance == "fixed_small":
        log_variance = log_small
    elif variance == "fixed_large":
        log_variance = jnp.where(per_sample(step.first, x_t), log_small, log_large)
    else:
        raise ValueError(f'variance is "fixed_small" or "fixed_large"; got "{variance}"')

    mean = posterior_mean(x0_of(output), x_t, step)
    kl = normal_kl(posterior_mean(x_0, x_t, step), log_small, mean, log_variance)
    if decoder == "discretized":
        likelihood = discretized_log_likelihood(x_0, mean, log_variance)
    else:
        likelihood = -0.5 * (
            jnp.log(2 * jnp.pi) + log_variance + jnp.square(x_0 - mean) * jnp.exp(-log_variance)
        )
    nats = jnp.where(per_sample(step.first, x_t), -likelihood, kl)
    return jnp.mean(nats, axis=tuple(range(1, x_t.ndim))) / jnp.log(2.0)


def hybrid_vlb_term(
    output: Denoised, x_0: Array, x_t: Array, t: Array, schedule: Schedule, num_timesteps: int
) -> Array:
    """The L_vlb part of L_hybrid [B]: `vlb_term` with the mean detached, so that it trains only Σ.

    L_hybrid = L_simple + λ L_vlb with λ = 0.001 and L_vlb summed over the chain (Improved DDPM,
    equation 16). Estimated at one t this is L_simple + (T / 1000) · hybrid_vlb_term.
    """
    detached = output._replace(x0=jax.lax.stop_gradient(output.x0))
    return vlb_term(detached, x_0, x_t, t, schedule, num_timesteps)


def prior_bits(x_0: Array, schedule: Schedule) -> Array:
    """KL(q(x_1 | x_0) ‖ N(0, I)) [B] in bits per dimension."""
    alpha, sigma = schedule.alpha(jnp.ones(())), schedule.sigma(jnp.ones(()))
    kl = normal_kl(alpha * x_0, 2 * jnp.log(sigma), jnp.zeros(()), jnp.zeros(()))
    return jnp.mean(kl, axis=tuple(range(1, x_0.ndim))) / jnp.log(2.0)


def variational_bound(
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Array,
    key: Array,
    *,
    num_timesteps: int | None = None,
    sample_index: Array | None = None,
    variance: str = "fixed_large",
    decoder: str = "discretized",
) -> VariationalBound:
    """Every term of the bound of x_0 [B, ...] in one pass of T evaluations.

    T defaults to the schedule's. The noise depends on (sample index, step).
    """
    T = num_timesteps or schedule.num_timesteps
    if T is None:
        raise ValueError(f'schedule "{schedule.name}" is continuous: give num_timesteps')
    if sample_index is None:
        sample_index = jnp.arange(x_0.shape[0])

    def at_step(_, n):
        t = jnp.full(x_0.shape[:1], n / T, x_0.dtype)
        x_t = add_noise(x_0, normal_like(key, sample_index, n, x_0), schedule, t)
        output = denoiser(x_t, t)
        term = vlb_term(output, x_0, x_t, t, schedule, T, variance=variance, decoder=decoder)
        error = jnp.mean(jnp.square(x0_of(output) - x_0), axis=tuple(range(1, x_0.ndim)))
        return None, (term, error)

    _, (terms, mse) = jax.lax.scan(at_step, None, jnp.arange(1, T + 1))
    return VariationalBound(terms.T, prior_bits(x_0, schedule), mse.T)


def rate_distortion(bound: VariationalBound) -> tuple[Array, Array]:
    """The progressive code's (rate, distortion) [B, T], from n = T down to 1 (DDPM §4.3, table 4).

    rate: the bits per dimension that transmit x_n: the prior's and those of the terms above n.
    distortion: the root mean squared error of the x0 estimated from x_n, on the scale 0 … 255.
    """
    above = jnp.cumsum(bound.terms[:, ::-1], axis=1)[:, :-1]
    spent = jnp.concatenate([jnp.zeros_like(bound.prior)[:, None], above], axis=1)
    return spent + bound.prior[:, None], 127.5 * jnp.sqrt(bound.mse[:, ::-1])
