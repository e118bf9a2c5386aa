"""Gradients to updates: learning-rate schedule, clipping, optimizer, weight decay.

Which parameter is treated how is decided by its name, by one convention: a leaf called `kernel` is
the matrix of a linear or convolutional layer, its output axis the last. Only kernels decay, and
only kernels go to Muon; biases, norm scales and embeddings have other names. A kernel of stacked
blocks (`sharding.is_stacked`) is as many matrices as there are blocks.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from dalle_jax.training.sharding import is_stacked, path_name

Schedule = Callable[[Any], Any]


class Optimizer(NamedTuple):
    """An `optax.GradientTransformation` that also gives its learning rate."""

    init: Callable
    update: Callable
    learning_rate: Schedule  # number of updates done -> learning rate, for the log
    freeze: str = ""  # regular expression of the parameters that get no update; "" is none


def is_kernel(params: Any) -> Any:
    """A tree of booleans: True for the matrices of linear and convolutional layers."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: str(getattr(path[-1], "key", path[-1])) == "kernel", params
    )


def is_frozen(params: Any, freeze: str) -> Any:
    """A tree of booleans: True for parameters in whose path the regular expression is found."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bool(re.search(freeze, path_name(path))), params
    )


# Decays: (peak, warmup_steps, decay_steps, end_factor) -> schedule that starts after the warm-up.


def _constant(peak, warmup_steps, decay_steps, end_factor):
    return optax.constant_schedule(peak)


def _cosine(peak, warmup_steps, decay_steps, end_factor):
    return optax.cosine_decay_schedule(peak, decay_steps, alpha=end_factor)


def _linear(peak, warmup_steps, decay_steps, end_factor):
    return optax.linear_schedule(peak, peak * end_factor, decay_steps)


def _inverse_sqrt(peak, warmup_steps, decay_steps, end_factor):
    """peak · √(w / (w + n)), which has no end (Vaswani et al. 2017, equation 3)."""
    start = max(warmup_steps, 1)
    # n < 0 during the warm-up, where this value is computed and thrown away.
    return lambda n: peak * jnp.sqrt(start / (start + jnp.maximum(n, 0)))


DECAYS = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
    "inverse_sqrt": _inverse_sqrt,
}


def learning_rate_schedule(
    peak: float, *, steps: int, warmup_steps: int, decay: str, end_factor: float
) -> Schedule:
    """Linear warm-up to `peak` over `warmup_steps`, then `decay` to `peak * end_factor` at `steps`.

    The first of w warm-up updates takes peak / w and not 0: an update of 0 would be wasted.
    """
    if decay not in DECAYS:
        raise ValueError(
            f"learning-rate decay {decay!r} is unknown; choose one of {', '.join(DECAYS)}"
        )
    after = DECAYS[decay](peak, warmup_steps, max(steps - warmup_steps, 1), end_factor)
    if warmup_steps == 0:
        return after
    warmup = lambda n: peak * (n + 1) / warmup_steps
    return optax.join_schedules([warmup, after], [warmup_steps])


def _adamw(learning_rate, *, b1, b2, eps, weight_decay):
    """AdamW (Loshchilov and Hutter 2019)."""
    return optax.adamw(
        learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=is_kernel
    )


def orthogonalize(x: jax.Array) -> jax.Array:
    """About U Vᵀ of x = U S Vᵀ [m, n]: five steps x ← x (a + b A + c A²), A = xᵀ x (Jordan 2024).

    The coefficients bring singular values to within a third of 1 rather than to 1. Every step is a
    polynomial in the first A, so for matrices that are not nearly square the product of the five
    is formed in A's small space and meets x once: a third of the arithmetic for a kernel of 3 × 3.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    if x.shape[0] < x.shape[1]:
        return orthogonalize(x.T).T
    x = x / (jnp.linalg.norm(x) + 1e-8)
    if x.shape[0] < 2 * x.shape[1]:
        for _ in range(5):
            gram = x.T @ x
            x = a * x + x @ (b * gram + c * gram @ gram)
        return x
    identity = jnp.eye(x.shape[1], dtype=x.dtype)
    gram, product = x.T @ x, identity
    for i in range(5):
        factor = a * identity + b * gram + c * gram @ gram
        product = factor if i == 0 else product @ factor
        gram = factor @ gram @ factor
    return x @ product


def _orthogonalized_momentum(beta: float) -> optax.GradientTransformation:
    """Nesterov momentum, each kernel as a matrix [all other axes, last axis] made orthogonal.

    Scaled by 0.2 √max(m, n), so that its elements are as large as those of AdamW's usual update
    (Liu et al. 2025, equation 4) and a learning rate found for AdamW serves here too.
    """

    def step(gradient, momentum):
        matrix = rearrange(gradient + beta * momentum, "... n -> (...) n")
        scale = 0.2 * max(matrix.shape) ** 0.5
        return (scale * orthogonalize(matrix)).reshape(gradient.shape)

    def update(gradients, momentum, params=None):
        momentum = jax.tree.map(lambda m, g: beta * m + g, momentum, gradients)
        updates = jax.tree_util.tree_map_with_path(
            lambda path, g, m: (jax.vmap(step) if is_stacked(path_name(path)) else step)(g, m),
            gradients,
            momentum,
        )
        return updates, momentum

    return optax.GradientTransformation(optax.tree.zeros_like, update)


def _muon(learning_rate, *, b1, b2, eps, weight_decay):
    """Muon (Jordan 2024) on kernels, Adam with Nesterov momentum (Dozat 2016) on the rest.

    optax.contrib.muon with kernels as matrices is the same rule in twice the time.
    """
    muon = optax.chain(
        _orthogonalized_momentum(beta=0.95),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.partition(
        {True: muon, False: optax.nadam(learning_rate, b1=b1, b2=b2, eps=eps)}, is_kernel
    )


OPTIMIZERS = {"adamw": _adamw, "muon": _muon}


def make_optimizer(
    name: str = "adamw",
    *,
    learning_rate: float,
    steps: int,
    first_step: int = 0,
    warmup_steps: int = 0,
    decay: str = "constant",
    end_factor: float = 0.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    freeze: str = "",
) -> Optimizer:
    """Clip the gradient to a global norm of `clip_norm`, then take one optimizer's update.

    Args:
      name: a key of `OPTIMIZERS`.
      learning_rate: its peak; see `learning_rate_schedule` for `warmup_steps`, `decay`,
        `end_factor` (the last learning rate as a share of the peak).
      steps: length of the whole training, where the decay ends.
      first_step: the schedule begins at this update rather than at the first.
      weight_decay: multiplied with the learning rate, on kernels only.
      clip_norm: None for no clipping.
      freeze: regular expression of the paths of parameters that get no update and have no state;
        "" for none. Clipping leaves their gradient out.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is unknown; choose one of {', '.join(OPTIMIZERS)}")
    schedule = learning_rate_schedule(
        learning_rate,
        steps=steps - first_step,
        warmup_steps=warmup_steps,
        decay=decay,
        end_factor=end_factor,
    )
    if first_step:
        from_zero = schedule
        schedule = lambda n: from_zero(n - first_step)
    transform = OPTIMIZERS[name](schedule, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    if clip_norm is not None:
        transform = optax.chain(optax.clip_by_global_norm(clip_norm), transform)
    if freeze:
        parts = {False: transform, True: optax.set_to_zero()}
        transform = optax.partition(parts, partial(is_frozen, freeze=freeze))
    return Optimizer(transform.init, transform.update, schedule, freeze)
