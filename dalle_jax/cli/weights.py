"""Raw weights in the place of their average (EMA), to see what the average is worth."""

import dataclasses
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from dalle_jax.pipelines.system import System
from dalle_jax.runs import Run

WEIGHTS = ("ema", "raw")


def choose_weights(system: System, weights: str) -> System:
    """The system on its EMA weights, as it was loaded, or on raw ones.

    CLIP keeps its average: it is what the stages that stand on it were trained with.

    Raises:
        ValueError: there are no such weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known are {', '.join(WEIGHTS)}")
    if weights == "ema":
        return system
    params = dict(system.params)
    for name, run in system.runs.items():
        if name == "joint":  # the last, whose weights are those of prior and decoder
            params |= load_raw_params(run)
        elif name != "clip":
            params[name] = load_raw_params(run)
    return dataclasses.replace(system, params=params)


def weights_of(stage: str, weights: str) -> str:
    """Which weights of a stage `choose_weights` takes."""
    return "ema" if stage == "clip" else weights


def load_raw_params(run: Run) -> Any:
    """The weights of a run's newest checkpoint as the optimizer left them, on the first device.

    `Run.load_params` must have read that checkpoint before: it tells what is missing or damaged.
    """
    path = (run.directory / "checkpoints" / str(run.step) / "state").absolute()
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree["params"]
        place = SingleDeviceSharding(jax.local_devices()[0])
        item = {
            "params": jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), saved
            )
        }
        restore = ocp.args.PyTreeRestore(
            item=item,
            restore_args=ocp.checkpoint_utils.construct_restore_args(item),
            partial_restore=True,
        )
        return checkpointer.restore(path, args=restore)["params"]
