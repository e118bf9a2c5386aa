"""Guidance: functions from denoiser to denoiser, which compose in any order.

    guided = classifier_free(denoise, cond, uncond, scale=3.0)
    guided = on_interval(schedule, (0.28, 5.42), inside=guided, outside=conditional)
    guided = dynamic_threshold(guided)

Guiding x0 is equivalent to guiding eps, v or the score: at a given x_t they are affine in each
other.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.diffusion.arrays import Array, Denoiser, per_sample, with_x0, x0_of
from dalle_jax.diffusion.schedules import Schedule


def classifier_free(
    denoise: Callable[[Array, Array, Any], Any],
    cond: Any,
    uncond: Any,
    scale: Array | float,
    *,
    rescale: Array | float = 0.0,
) -> Denoiser:
    """x0_u + scale (x0_c − x0_u) (Ho & Salimans 2022, 2207.12598, equation 6).

    `denoise(x_t, t, condition)` is called once on a batch of 2 B, the conditional half before the
    unconditional one; `cond` and `uncond` are trees of arrays [B, ...]. For a negative prompt pass
    its encoding as `uncond`. `scale` is a number or one per sample [B]; with the number 1 (not an
    array) only the conditional half is evaluated. A learned variance is that of the conditional
    half (GLIDE's code).

    rescale = φ in [0, 1] mixes in the guided x0 rescaled to the standard deviation of the
    conditional x0 over each sample (Lin et al. 2024, 2305.08891, equations 15 and 16, here on x0).
    """
    check_guidance(scale, rescale)
    if isinstance(scale, Real) and scale == 1:
        return lambda x_t, t: denoise(x_t, t, cond)

    both = jax.tree.map(lambda c, u: jnp.concatenate([c, u]), cond, uncond)

    def denoiser(x_t, t):
        n = x_t.shape[0]
        output = denoise(jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t]), both)
        conditional = jax.tree.map(lambda a: a[:n], output)
        x0_c, x0_u = x0_of(conditional), x0_of(output)[n:]
        guided = x0_u + per_sample(scale, x_t) * (x0_c - x0_u)
        if not (isinstance(rescale, Real) and rescale == 0):
            axes = tuple(range(1, x_t.ndim))
            ratio = jnp.std(x0_c, axes, keepdims=True) / jnp.std(guided, axes, keepdims=True)
            guided = guided * (rescale * ratio + 1 - rescale)
        return with_x0(conditional, guided)

    return denoiser


def check_guidance(scale: Array | float, rescale: Array | float = 0.0) -> None:
    """Check that scale and rescale are in range; arrays may be traced and are not checked.

    Raises:
        ValueError: scale is not finite, or rescale is outside [0, 1].
    """
    if not isinstance(scale, Array) and not _is_finite(scale):
        raise ValueError(f"guidance_scale is {scale!r}; it must be a finite number, 1 for none")
    if not isinstance(rescale, Array) and not (_is_finite(rescale) and 0 <= rescale <= 1):
        raise ValueError(f"guidance_rescale is {rescale!r}; it must be a number from 0 to 1")


def check_interval(interval: Any) -> None:
    """Check that an interval is a pair of noise levels; a jax array may be traced: not checked.

    Raises:
        ValueError: it is not two numbers with 0 <= low < high.
    """
    if isinstance(interval, jax.Array):
        return
    pair = isinstance(interval, Sequence | np.ndarray) and len(interval) == 2
    numbers = pair and all(isinstance(x, Real) for x in interval)
    if not numbers or not 0 <= interval[0] < interval[1]:
        raise ValueError(
            "a guidance interval is two noise levels (low, high], 0 <= low < high; "
            f"got {interval!r}"
        )


def _is_finite(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool) and math.isfinite(x)


def autoguidance(denoiser: Denoiser, weak: Denoiser, scale: Array | float) -> Denoiser:
    """x0_weak + scale (x0 − x0_weak): away from a weaker checkpoint of the same model.

    Karras et al. 2024 (2406.02507), equation 3.
    """

    def guided(x_t, t):
        output, behind = denoiser(x_t, t), x0_of(weak(x_t, t))
        return with_x0(output, behind + per_sample(scale, x_t) * (x0_of(output) - behind))

    return guided


def on_interval(
    schedule: Schedule, interval: tuple[float, float], *, inside: Denoiser, outside: Denoiser
) -> Denoiser:
    """`inside` where σ = sigma / alpha is in (low, high], `outside` elsewhere.

    Guidance in a limited interval (Kynkäänniemi et al. 2024, 2404.07724): a guided denoiser inside,
    the conditional one outside. `lax.cond` evaluates only one of the two, so a sampler is still one
    scan. It reads t of the first sample: samplers use the same t for the whole batch.
    """
    check_interval(interval)
    low, high = interval

    def denoiser(x_t, t):
        ratio = schedule.noise_ratio(t[0])
        return jax.lax.cond((ratio > low) & (ratio <= high), inside, outside, x_t, t)

    return denoiser


def gradient(
    denoiser: Denoiser,
    score: Callable[[Array, Array], Array],
    schedule: Schedule,
    scale: Array | float = 1.0,
) -> Denoiser:
    """Guidance by ∇ log p(y | x_t), the gradient of any differentiable `score(x_t, t) -> [B]`.

    eps_hat − scale · sigma ∇ score (Dhariwal & Nichol 2021, 2105.05233, algorithm 2), which on x0
    is x0_hat + scale · sigma² / alpha ∇ score. With score = logit_scale · cos(f(x_t, t), g(c)) of a
    noised CLIP it is GLIDE's CLIP guidance (§2.4). The shift of x0 is large where alpha is near 0,
    so wrap the result in a threshold.
    """

    def guided(x_t, t):
        output = denoiser(x_t, t)
        slope = jax.grad(lambda x: jnp.sum(score(x, t)))(x_t)
        gain = scale * schedule.sigma(t) ** 2 / schedule.alpha(t)
        return with_x0(output, x0_of(output) + per_sample(gain, x_t) * slope)

    return guided


def static_threshold(denoiser: Denoiser, limit: float = 1.0) -> Denoiser:
    """x0 clipped to [−limit, limit] (Imagen, 2205.11487, §2.3)."""

    def clipped(x_t, t):
        output = denoiser(x_t, t)
        return with_x0(output, jnp.clip(x0_of(output), -limit, limit))

    return clipped


def dynamic_threshold(denoiser: Denoiser, percentile: float = 0.995) -> Denoiser:
    """x0 clipped to [−s, s] and divided by s, s = max(1, percentile of |x0|) of each sample.

    Imagen, 2205.11487, §2.3.
    """

    def clipped(x_t, t):
        output = denoiser(x_t, t)
        x0 = x0_of(output)
        axes = tuple(range(1, x0.ndim))
        s = jnp.maximum(jnp.quantile(jnp.abs(x0), percentile, axis=axes, keepdims=True), 1.0)
        return with_x0(output, jnp.clip(x0, -s, s) / s)

    return clipped
