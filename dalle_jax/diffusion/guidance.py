"""Guidance: functions from denoiser to denoiser, so that any of them goes around any other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dalle_jax.diffusion.arrays import Array, Denoiser, with_x0, x0_of


def classifier_free(
    denoise: Callable[[Array, Array, Any], Any],
    cond: Any,
    uncond: Any,
    scale: Array | float,
    *,
    rescale: float = 0.0,
) -> Denoiser:
    """x0_u + scale (x0_c − x0_u) (Ho & Salimans 2022, 2207.12598, equation 6).

    `denoise(x_t, t, condition)` is called once, on conditional and unconditional halves in a batch
    of 2 B; `cond` and `uncond` are trees of arrays [B, ...], and a negative prompt is another
    `uncond`. Guiding x0 is the same as guiding eps, v or score, which are affine in it. A learned
    variance is that of the conditional half (GLIDE). scale = 1 given as a number asks the
    conditional half alone.

    rescale = φ in [0, 1] mixes in the guided x0 brought back to the conditional one's standard
    deviation over each sample (Lin et al. 2024, 2305.08891, equations 15 and 16).
    """
    if isinstance(scale, int | float) and scale == 1:
        return lambda x_t, t: denoise(x_t, t, cond)

    both = jax.tree.map(lambda c, u: jnp.concatenate([c, u]), cond, uncond)

    def denoiser(x_t, t):
        output = denoise(jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t]), both)
        conditional, unconditional = (
            jax.tree.map(lambda a: a[: x_t.shape[0]], output),
            x0_of(jax.tree.map(lambda a: a[x_t.shape[0] :], output)),
        )
        x0_c = x0_of(conditional)
        guided = unconditional + scale * (x0_c - unconditional)
        if rescale:
            axes = tuple(range(1, x_t.ndim))
            factor = jnp.std(x0_c, axes, keepdims=True) / jnp.std(guided, axes, keepdims=True)
            guided = guided * (rescale * factor + 1 - rescale)
        return with_x0(conditional, guided)

    return denoiser
