"""Distributions of t in training: uniform, stratified, log-normal, or by importance of the loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array
from dalle_jax.diffusion.schedules import Schedule


def uniform(key: Array, n: int) -> Array:
    """t [n], each uniform in [0, 1)."""
    return jax.random.uniform(key, (n,))


def stratified(key: Array, n: int) -> Array:
    """t [n] = (u + i / n) mod 1 with one u: each t uniform, the batch evenly spread.

    Kingma et al. 2021 (VDM, 2107.00630, appendix I.1).
    """
    return jnp.mod(jax.random.uniform(key) + jnp.arange(n) / n, 1.0)


def log_normal(
    key: Array, n: int, schedule: Schedule, mean: float = -1.2, deviation: float = 1.2
) -> Array:
    """t [n] with ln(sigma / alpha) ~ N(mean, deviation²) (EDM, table 1), clipped to [0, 1).

    Stratified: the n quantiles are evenly spread with one random offset, as in `stratified`.
    Under a rectified flow this is the logit-normal t of Esser et al. 2024 (equation 19).
    """
    # The normal quantile is infinite at 0 and 1.
    quantiles = jnp.clip(stratified(key, n), 1e-7, 1 - 1e-7)
    log_ratio = mean + deviation * jax.scipy.special.ndtri(quantiles)
    return jnp.clip(schedule.time(-2 * log_ratio), 0.0, 1 - 1e-6)


def on_steps(t: Array, schedule: Schedule) -> Array:
    """t in [0, 1) [n] → (0, 1]: rounded up to a step n / T, or for continuous t to [t_min, 1)."""
    T = schedule.num_timesteps
    if T:
        return (jnp.floor(t * T) + 1) / T
    return schedule.t_min + (1 - schedule.t_min) * t


class LossHistory(NamedTuple):
    """The latest losses of each of `bins` equal parts of [0, 1): part of the training state."""

    losses: Array  # [bins, length], oldest first
    counts: Array  # [bins] int32, at most length


def loss_history(bins: int, length: int = 10) -> LossHistory:
    """An empty history; Improved DDPM stores 10 losses for each of its T steps."""
    return LossHistory(jnp.zeros((bins, length)), jnp.zeros(bins, jnp.int32))


def importance_probabilities(history: LossHistory, uniform_share: float = 1e-3) -> Array:
    """p [bins] ∝ sqrt(E[L²]), mixed with a uniform share; uniform until every bin is full.

    Improved DDPM §3.3 (equation 18) and its code.
    """
    bins, length = history.losses.shape
    p = jnp.sqrt(jnp.mean(jnp.square(history.losses), axis=-1))
    p = p / jnp.sum(p) * (1 - uniform_share) + uniform_share / bins
    return jnp.where(jnp.all(history.counts == length), p, jnp.full(bins, 1 / bins))


def by_importance(key: Array, n: int, history: LossHistory) -> tuple[Array, Array]:
    """(t [n] in [0, 1), weights [n]): bins sampled by importance, weighted so that L is unbiased.

    The weights are 1 / (bins · p).
    """
    p = importance_probabilities(history)
    bins = p.shape[0]
    key_bin, key_offset = jax.random.split(key)
    chosen = jax.random.choice(key_bin, bins, (n,), p=p)
    t = (chosen + jax.random.uniform(key_offset, (n,))) / bins
    # In float32 bins − 1 + u can round to bins.
    return jnp.minimum(t, jnp.nextafter(jnp.ones_like(t), 0)), 1 / (bins * p[chosen])


def update_history(history: LossHistory, t: Array, losses: Array) -> LossHistory:
    """The history after a batch of unweighted losses [n] at times t [n] in [0, 1)."""
    bins, length = history.losses.shape

    def push(history, observed):
        b, loss = observed
        row = jnp.append(history.losses[b, 1:], loss)
        count = jnp.minimum(history.counts[b] + 1, length)
        return LossHistory(history.losses.at[b].set(row), history.counts.at[b].set(count)), None

    b = jnp.clip(jnp.floor(t * bins), 0, bins - 1).astype(jnp.int32)
    return jax.lax.scan(push, history, (b, losses.astype(history.losses.dtype)))[0]
