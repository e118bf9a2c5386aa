"""The one train step of all stages, and the evaluation of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dalle_jax.training.optim import is_frozen
from dalle_jax.training.sharding import BATCH
from dalle_jax.training.state import TrainState


def ema_rate(decay: float, step: jax.Array) -> jax.Array:
    """min(decay, (1 + step) / (10 + step)), the weight of the old average at update `step` from 0.

    It rises to `decay`, so that a short run's average is not mostly its random start.
    """
    step = step.astype(jnp.float32)
    return jnp.minimum(decay, (1 + step) / (10 + step))


def _gradients(stage, params, frozen, batch, key):
    (loss, metrics), gradients = stage.value_and_grad(params, frozen, batch, key)
    return gradients, {"loss": loss, **metrics}


def _accumulated_gradients(stage, params, frozen, batch, key, accumulate, mesh):
    """Mean over `accumulate` microbatches, one after the other, so memory is that of one."""

    rows = len(jax.tree.leaves(batch)[0])
    if rows % accumulate:
        raise ValueError(
            f"a batch of {rows} images can't be cut into {accumulate} equal microbatches; "
            "change batch_size or accumulate"
        )

    # Every accumulate-th row goes to one microbatch: rows stay on their device.
    def cut(x):
        micro = rearrange(x, "(b a) ... -> a b ...", a=accumulate)
        return jax.lax.with_sharding_constraint(micro, NamedSharding(mesh, P(None, *BATCH)))

    def add(total, i_and_micro):
        i, micro = i_and_micro
        out = _gradients(stage, params, frozen, micro, jax.random.fold_in(key, i))
        return jax.tree.map(jnp.add, total, out), None

    micros = (jnp.arange(accumulate), jax.tree.map(cut, batch))
    first = jax.tree.map(lambda x: x[0], micros)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(
            lambda i, b: _gradients(stage, params, frozen, b, jax.random.fold_in(key, i)), *first
        ),
    )
    total, _ = jax.lax.scan(add, zeros, micros)
    return jax.tree.map(lambda x: x / accumulate, total)


def make_train_step(
    stage,
    optimizer,
    *,
    mesh: Mesh,
    state_shardings: Any,
    ema_decay: float,
    accumulate: int = 1,
) -> Callable:
    """`(state, frozen, batch, root_key) -> (state, metrics)`, jitted; the given state is consumed.

    The step's randomness is fold_in(root_key, state.step), its batch may be cut into `accumulate`
    microbatches whose mean gradient makes the update. `metrics` are float32 scalars: those of the
    stage, `loss`, `grad_norm` (before clipping, without what is frozen), `param_norm` and
    `learning_rate`.
    """

    def train_step(state: TrainState, frozen, batch, root_key):
        key = jax.random.fold_in(root_key, state.step)
        if accumulate == 1:
            gradients, metrics = _gradients(stage, state.params, frozen, batch, key)
        else:
            gradients, metrics = _accumulated_gradients(
                stage, state.params, frozen, batch, key, accumulate, mesh
            )
        if optimizer.freeze:  # what is not used of a gradient is not computed
            frozen_ones = is_frozen(gradients, optimizer.freeze)
            gradients = jax.tree.map(
                lambda g, is_fixed: jnp.zeros_like(g) if is_fixed else g, gradients, frozen_ones
            )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        rate = ema_rate(ema_decay, state.step)
        ema_params = jax.tree.map(lambda e, p: e + (1 - rate) * (p - e), state.ema_params, params)
        metrics |= {
            "grad_norm": optax.tree.norm(gradients),
            "param_norm": optax.tree.norm(params),
            "learning_rate": optimizer.learning_rate(state.step),
        }
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return TrainState(state.step + 1, params, ema_params, opt_state), metrics

    return jax.jit(
        train_step,
        donate_argnums=0,
        out_shardings=(state_shardings, NamedSharding(mesh, P())),
    )


def make_eval_step(stage) -> Callable:
    """`(params, frozen, batch, key) -> metrics`, the stage's loss as it is without training."""

    def eval_step(params, frozen, batch, key):
        loss, metrics = stage.loss(params, frozen, batch, key, train=False)
        return {name: jnp.asarray(v, jnp.float32) for name, v in {"loss": loss, **metrics}.items()}

    return jax.jit(eval_step)
