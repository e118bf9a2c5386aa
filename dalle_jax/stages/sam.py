"""Sharpness-aware minimisation: the gradient where the loss nearby is highest.

Foret et al. 2021 (2010.01412, equations 2 and 3). DALL-E 2 trains its CLIP with it (appendix C) and
finds that it lowers the rank of the embeddings, which helps the prior.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax


def value_and_grad(loss: Callable, radius: float) -> Callable:
    """`jax.value_and_grad(loss, has_aux=True)`, its gradient taken at w + ρ ∇L(w) / ‖∇L(w)‖.

    `loss(params, ...) -> (scalar, metrics)`; ρ is `radius`, and 0 the plain gradient. The value and
    the metrics are those at w, and the metric `sharpness` is how much higher the loss is at the
    other point. Costs a second gradient, of the same batch with the same noise.

    Under microbatches each has a point of its own ("m-sharpness", §4.1).
    """
    plain = jax.value_and_grad(loss, has_aux=True)
    if radius == 0:
        return plain

    def sharpness_aware(params: Any, *args: Any, **kwargs: Any):
        (value, metrics), slope = plain(params, *args, **kwargs)
        scale = radius / jnp.maximum(optax.tree.norm(slope), 1e-12)
        there = jax.tree.map(lambda w, g: w + scale * g, params, slope)
        (value_there, _), gradient = plain(there, *args, **kwargs)
        return (value, {**metrics, "sharpness": value_there - value}), gradient

    return sharpness_aware
