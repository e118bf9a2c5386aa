"""Checkpoints on disk; the only file that knows Orbax.

A checkpoint holds three things: `state` (a tree of arrays), `data` (where the data iterator stood)
and `meta` (JSON). It appears under its step's number at once and whole, or not at all.
"""

import base64
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

log = logging.getLogger(__name__)


def _encode(data_state: Any) -> dict:
    if isinstance(data_state, bytes):
        return {"bytes": base64.b64encode(data_state).decode()}
    return {"json": data_state}


def _decode(encoded: Mapping) -> Any:
    return base64.b64decode(encoded["bytes"]) if "bytes" in encoded else encoded["json"]


class Checkpoints:
    """The checkpoints of one run: saved in the background, the newest few and the best kept."""

    def __init__(self, directory: str | Path, *, keep: int = 2):
        """Open (or make) `directory`; `keep` newest stay, and the one of lowest validation loss."""
        self.directory = Path(directory).absolute()
        best = policies.BestN(
            get_metric_fn=lambda metrics: -metrics["loss"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                cleanup_tmp_directories=True,
            ),
        )

    @staticmethod
    def steps_in(directory: str | Path) -> list[int]:
        """Steps that have a whole checkpoint in `directory`, oldest first, without opening it."""
        directory = Path(directory)
        return sorted(int(p.name) for p in directory.glob("*") if p.name.isdigit())

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, data_state: Any, validation_loss: float | None) -> None:
        """Start saving; returns when `state` may be donated, waits for the save before this."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(_encode(data_state))
            ),
            metrics=None if validation_loss is None else {"loss": validation_loss},
            force=True,
        )

    def restore(self, abstract_state: Any) -> tuple[Any, Any] | None:
        """(state, data state) of the newest checkpoint, laid out as `abstract_state` says.

        None if there is no checkpoint.
        """
        for step in reversed(self.steps()):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract_state), data=ocp.args.JsonRestore()
                ),
            )
            return restored["state"], _decode(restored["data"])
        return None

    def wait(self) -> None:
        """Return when all that was saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish saving and let the threads go."""
        self._manager.close()


def load_ema_params(directory: str | Path) -> Any:
    """The EMA parameters of the newest checkpoint in `directory`, as arrays on the host.

    The optimizer's state and the raw parameters are not read.
    """
    directory = Path(directory).absolute()
    path = directory / str(Checkpoints.steps_in(directory)[-1]) / "state"
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        wanted = {"ema_params": tree["ema_params"]}
        restore_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        restored = checkpointer.restore(
            path,
            args=ocp.args.PyTreeRestore(
                item=wanted, restore_args=restore_args, partial_restore=True
            ),
        )
    return restored["ema_params"]
