"""What a training run carries from one step to the next."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct, traverse_util

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


class Rows(NamedTuple):
    """Some rows of a table, `values` [n, …] at `index` [n]."""

    index: jax.Array
    values: jax.Array


# What parameters begin with, by path as "network/conv_in/kernel"; the others are random.
Start = Mapping[str, jax.Array | Rows]


def initial_params(stage, key: jax.Array, start: Start | None = None) -> Params:
    """The parameters that are given, and random ones where none are; traceable."""
    params = stage.init(key)
    if not start:
        return params
    flat = traverse_util.flatten_dict(params, sep="/")
    for name, value in start.items():
        is_table = isinstance(value, Rows)
        flat[name] = flat[name].at[value.index].set(value.values) if is_table else value
    return traverse_util.unflatten_dict(flat, sep="/")


def create_state(stage, optimizer, key: jax.Array, start: Start | None = None) -> TrainState:
    """The state before the first update, of `initial_params`; traceable."""
    params = initial_params(stage, key, start)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        # A copy: the step donates its input, and one buffer can't be donated twice.
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimizer.init(params),
    )


def init_state(
    create: Callable[..., TrainState], key: jax.Array, shardings: Any, start: Start | None = None
) -> TrainState:
    """`create(key, start)`, a partial `create_state`, with each array born sharded: no device ever
    holds all of them. It is not traced again after `jax.eval_shape(create, key, start)`.

    On a CPU it is compiled without optimization: it runs once, in no time, and its hundreds of
    random draws take four times longer to compile otherwise.
    """
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(create, out_shardings=shardings, compiler_options=quick)(key, start)
