"""What a training run carries from one step to the next."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

Params = Any  # a tree of arrays


@struct.dataclass
class TrainState:
    """All that the next step needs besides its batch; a checkpoint is exactly this.

    It holds no random key: the root key is a function of the run's seed, and the step folds its own
    number into it, so that a step depends only on (config, step).
    """

    step: jax.Array  # int32 scalar: updates done so far
    params: Params
    ema_params: Params
    opt_state: Any


def create_state(stage, optimizer, key: jax.Array, params: Params = None) -> TrainState:
    """The state before the first update, with random parameters if none are given; traceable."""
    params = stage.init(key) if params is None else params
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy: the step donates its input, and one buffer can't be donated twice.
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )


def init_state(
    create: Callable[..., TrainState], key: jax.Array, shardings: Any, params: Params = None
) -> TrainState:
    """`create(key, params)`, a partial `create_state`, with each array born sharded: no device ever
    holds all of them. It is not traced again after `jax.eval_shape(create, key, params)`.

    On a CPU it is compiled without optimization: it runs once, in no time, and its hundreds of
    random draws take four times longer to compile otherwise.
    """
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    if params is not None:
        params = jax.device_put(params, shardings.params)
    return jax.jit(create, out_shardings=shardings, compiler_options=quick)(key, params)
