"""Floating-point operations of a training step and of a forward pass.

Those of a program before optimization, as XLA counts them without compiling it.
"""

import copy
import functools

import jax

from dalle_jax.cost.abstract import (
    Config,
    abstract_batch,
    abstract_key,
    abstract_stage,
    abstract_training,
    lower_step,
)
from dalle_jax.cost.compiled import flops
from dalle_jax.stages import STAGES
from dalle_jax.training.sharding import make_mesh


def step_flops(stage_name: str, config: Config) -> float:
    """Of one step of training, as XLA counts them; nothing is computed or compiled.

    The batch is taken at once and blocks are not scanned: of a loop XLA would count one turn.
    """
    mesh = make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    training = abstract_training(stage_name, unrolled(config))
    return flops(lower_step(training, mesh, accumulate=1))


def unrolled(config: Config) -> Config:
    """`config` with the blocks of all its transformers one by one."""
    config = copy.deepcopy(dict(config))
    for stage in STAGES.keys() & config.keys():
        model = config[stage].get("model", {})
        if "scan_blocks" in model:
            model["scan_blocks"] = False
    return config


def forward_flops(stage_name: str, config: Config) -> float:
    """Of the loss of one item, without its gradient."""
    config = unrolled(config)
    stage, params, frozen = abstract_stage(stage_name, config)
    loss = jax.jit(functools.partial(stage.loss, train=True))
    batch = abstract_batch(stage_name, config, 2)
    return flops(loss.lower(params, frozen, batch, abstract_key())) / 2
