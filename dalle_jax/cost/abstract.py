"""A stage's training as shapes: what can be said of it without weights, data or devices."""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding

from dalle_jax.stages import build_stage, data_of, upstream_of
from dalle_jax.training.lora import BASE, Adapted
from dalle_jax.training.optim import Optimizer, make_optimizer
from dalle_jax.training.sharding import BATCH, tree_shardings, with_shardings
from dalle_jax.training.state import TrainState, create_state
from dalle_jax.training.step import make_train_step

Config = Mapping[str, Any]

NOT_BUILT = ("train", "sample")  # sections of a stage's config that no network depends on


class AbstractTraining(NamedTuple):
    """A stage and the shapes of what its training is given."""

    stage: Any
    optimizer: Optimizer
    state: TrainState
    frozen: dict[str, Any]
    batch: dict[str, jax.ShapeDtypeStruct]
    settings: Mapping[str, Any]  # config.STAGE.train


def abstract_stage(stage_name: str, config: Config) -> tuple[Any, Any, dict[str, Any]]:
    """The stage, the shapes of its parameters, and of those that are frozen."""
    stage = build_stage(stage_name, config)
    frozen = {name: _params(name, config) for name in upstream_of(stage_name, config)}
    start, frozen = stage.start_from(frozen)
    return stage, _params(stage_name, config) if start is None else start, frozen


def _params(stage_name: str, config: Config) -> Any:
    """The shapes of a stage's parameters; several stages may need the same one."""
    networks = _networks(stage_name, config)
    return _traced_params(stage_name, json.dumps(networks, sort_keys=True, default=dict))


@functools.cache
def _traced_params(stage_name: str, networks: str) -> Any:
    return jax.eval_shape(build_stage(stage_name, json.loads(networks)).init, abstract_key())


def _networks(stage_name: str, config: Config) -> dict[str, Any]:
    """Of a config, what a stage and those that it needs are built from."""
    own = {name: part for name, part in config[stage_name].items() if name not in NOT_BUILT}
    parts = {name: config[name] for name in ("data", "tokenizer")} | {stage_name: own}
    for name in upstream_of(stage_name, config):
        parts |= _networks(name, config)
    return parts


def abstract_batch(stage_name: str, config: Config, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch of `size` captioned images, without stored embeddings."""
    side, length = data_of(stage_name, config)["image_size"], config["tokenizer"]["max_length"]
    return {
        "image": jax.ShapeDtypeStruct((size, side, side, 3), jnp.uint8),
        "tokens": jax.ShapeDtypeStruct((size, length), jnp.int32),
    }


def abstract_key() -> jax.ShapeDtypeStruct:
    """A random key."""
    return jax.eval_shape(lambda: jax.random.key(0))


def abstract_training(stage_name: str, config: Config) -> AbstractTraining:
    """All that `training.loop.fit` would be given of a config, as shapes."""
    settings = config[stage_name]["train"]
    stage, params, frozen = abstract_stage(stage_name, config)
    optimizer = make_optimizer(
        **settings["optimizer"], steps=settings["steps"], freeze=settings["freeze"]
    )
    if settings["lora"]["rank"]:
        stage, frozen = Adapted(stage, **settings["lora"]), {**frozen, BASE: params}
        params = jax.eval_shape(stage.init, abstract_key())
    start = traverse_util.flatten_dict(params, sep="/")
    state = jax.eval_shape(functools.partial(create_state, stage, optimizer), abstract_key(), start)
    batch = abstract_batch(stage_name, config, settings["batch_size"])
    return AbstractTraining(stage, optimizer, state, frozen, batch, settings)


def lower_step(training: AbstractTraining, mesh: Mesh, accumulate: int) -> jax.stages.Lowered:
    """The train step on a mesh of devices, lowered and not compiled."""
    shardings = tree_shardings(training.state, mesh)
    step = make_train_step(
        training.stage,
        training.optimizer,
        mesh=mesh,
        state_shardings=shardings,
        ema_decay=training.settings["ema_decay"],
        accumulate=accumulate,
    )
    rows = jax.tree.map(lambda _: NamedSharding(mesh, BATCH), training.batch)
    return step.lower(
        with_shardings(training.state, shardings),
        with_shardings(training.frozen, tree_shardings(training.frozen, mesh)),
        with_shardings(training.batch, rows),
        abstract_key(),
    )
