"""Data with a closed-form denoiser, for testing samplers: isotropic Gaussian mixtures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, Denoiser
from dalle_jax.diffusion.schedules import Schedule


class GaussianMixture(NamedTuple):
    """Σ_k weights[k] N(means[k], deviations[k]² I) over vectors of D numbers."""

    weights: Array  # [K]
    means: Array  # [K, D]
    deviations: Array  # [K]

    def denoiser(self, schedule: Schedule) -> Denoiser:
        """E[x_0 | x_t] for x_t [B, D].

        x_t given component k is N(alpha μ_k, v_k I), v_k = alpha² s_k² + sigma², so that
        E[x_0 | x_t] = Σ_k p(k | x_t) (μ_k + alpha s_k² / v_k (x_t − alpha μ_k)).
        """

        def denoiser(x_t: Array, t: Array) -> Array:
            alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]  # [B, 1]
            s2 = jnp.square(self.deviations)[None].astype(x_t.dtype)
            v = alpha**2 * s2 + sigma**2  # [B, K]
            away = x_t[:, None] - alpha[..., None] * self.means[None]  # [B, K, D]
            log_density = (
                jnp.log(self.weights)[None]
                - x_t.shape[-1] / 2 * jnp.log(v)
                - jnp.sum(away**2, -1) / (2 * v)
            )
            posterior = jax.nn.softmax(log_density, axis=-1)
            means = self.means[None] + (alpha * s2 / v)[..., None] * away
            return jnp.einsum("bk,bkd->bd", posterior, means)

        return denoiser

    def sample(self, key: Array, n: int) -> Array:
        """n samples of the mixture [n, D]."""
        key_k, key_x = jax.random.split(key)
        k = jax.random.choice(key_k, len(self.weights), (n,), p=self.weights)
        dtype = jnp.promote_types(self.means.dtype, jnp.float32)
        noise = jax.random.normal(key_x, (n, self.means.shape[-1]), dtype)
        return self.means[k] + self.deviations[k][:, None] * noise
