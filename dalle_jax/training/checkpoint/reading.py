"""Which checkpoint is restored, and reading it, as one process or as several that agree on it."""

import base64
import logging
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from dalle_jax.training.checkpoint.integrity import (
    CHECKSUMS,
    damage,
    means_damage,
    root,
    unread,
)
from dalle_jax.training.finished import steps_in

log = logging.getLogger(__name__)


class Mismatch(ValueError):
    """A checkpoint holds another tree than the one asked for."""


class Verdict(IntEnum):
    """What one of several processes makes of a checkpoint; the worst of all of them counts."""

    GOOD = 0
    DAMAGED = 1
    FAILED = 2  # to read it, for a reason that is not on the disk


def read_newest_good(
    directory: Path,
    abstract_state: Any,
    before: int | None,
    set_aside: Callable[[int], None] | None,
) -> tuple[int, tuple[Any, Any]] | None:
    """(step, (state, data state)) of the newest good checkpoint; None if there is none.

    Args:
      directory: of the checkpoints.
      abstract_state: the layout in which the state is wanted.
      before: only earlier steps than this one count; None for all.
      set_aside: called with each step that is found damaged; None if nothing may be changed.

    Raises:
      ValueError: the newest good one holds another tree, or all are damaged.
      OSError: it could not be read, here or by another process, though it may be whole.
    """
    steps = [s for s in steps_in(directory) if before is None or s < before]
    for step in reversed(steps):
        path, restored = directory / str(step), None
        reason = found_by_first(damage, path)
        if reason is None:
            restored, reason = read(path, abstract_state)
        if reason is None:
            return step, restored
        log.warning("checkpoint %s is damaged: %s; using the one before it", path, reason)
        if set_aside is not None:
            set_aside(step)
    if steps:
        then = (
            ""
            if set_aside is None
            else (" and set aside as damaged_*; the same command now starts from step 0")
        )
        raise ValueError(f"all checkpoints in {directory} are damaged{then}")
    return None


def read(path: Path, abstract_state: Any) -> tuple[tuple[Any, Any] | None, str | None]:
    """((state, data state), None) of a checkpoint, or (None, why it is damaged).

    Of several processes all come to the same end: while reading nobody waits for another.
    """
    restored = reason = fault = None
    try:
        restored = _restore(path, abstract_state)
    except Mismatch as error:
        fault = error
    except Exception as error:
        # With checksums its bytes are as they were written: the fault is not on the disk.
        if (path / CHECKSUMS).exists() or not means_damage(error):
            fault = unread(path, error)
            fault.__cause__ = error
        else:
            reason = f"it can't be read ({root(error)})"
    verdict = Verdict.FAILED if fault else Verdict.DAMAGED if reason else Verdict.GOOD
    verdicts = _of_all_processes(verdict)
    if fault is not None:
        raise fault
    worst = max(verdicts)
    others = ", ".join(str(i) for i, verdict in enumerate(verdicts) if verdict == worst)
    if worst == Verdict.FAILED:
        raise OSError(
            f"process {others} could not read checkpoint {path}, as it says itself; nothing was "
            "set aside, and the same command tries again"
        )
    if worst == Verdict.DAMAGED:
        return None, reason or f"process {others} can't read it"
    return restored, None


def found_by_first(look: Callable[[Path], str | None], path: Path) -> str | None:
    """`look(path)` by the first of several processes only, so that all go the same way.

    The others know what it found by yes or no.

    Raises:
      OSError: it could not look.
    """
    if jax.process_count() == 1:
        return look(path)
    found, fault = None, None
    if jax.process_index() == 0:
        try:
            found = look(path)
        except OSError as error:
            fault = error
    verdict = Verdict.FAILED if fault else Verdict.DAMAGED if found else Verdict.GOOD
    verdict = multihost_utils.broadcast_one_to_all(np.int32(verdict))
    if fault is not None:
        raise fault
    if verdict == Verdict.FAILED:
        raise OSError(f"process 0 could not read checkpoint {path}, as it says itself")
    return (found or "process 0 says so") if verdict == Verdict.DAMAGED else None


def _of_all_processes(verdict: int) -> list[int]:
    if jax.process_count() == 1:
        return [verdict]
    return multihost_utils.process_allgather(np.int32(verdict)).tolist()


def _restore(path: Path, abstract_state: Any) -> tuple[Any, Any]:
    # Not by the manager, whose restoring ends with a meeting of all processes: one that can't read
    # would leave the others there.
    handler = ocp.CompositeCheckpointHandler(**handlers())
    try:
        _check_fits(handler.metadata(path).item_metadata["state"].tree, abstract_state, path)
        parts = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract_state), data=ocp.args.JsonRestore()
        )
        restored = handler.restore(path, args=parts)
    finally:
        handler.close()
    return restored["state"], decode(restored["data"])


def handlers() -> dict[str, ocp.CheckpointHandler]:
    """Who writes and reads the two parts of a checkpoint."""
    return {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}


def _check_fits(saved: Any, wanted: Any, path: Path) -> None:
    flat = ocp.tree.to_flat_dict
    there = _arrays(flat(saved, sep="/"))
    here = _arrays(flat(ocp.tree.serialize_tree(wanted, keep_empty_nodes=True), sep="/"))
    differences = []
    for name in sorted(there.keys() | here.keys()):
        (shape, dtype), (shape_here, dtype_here) = (
            arrays.get(name, ("missing", "missing")) for arrays in (there, here)
        )
        if shape != shape_here:
            differences.append(f"{name} is {shape} there, {shape_here} here")
        elif dtype != dtype_here:
            differences.append(f"{name} is {dtype} there, {dtype_here} here")
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise Mismatch(
            f"the checkpoint of step {path.name} is of another model or optimizer: "
            f"{'; '.join(differences[:3])}{more}"
        )


def check_float32(saved: Any, path: Path) -> None:
    """Parameters are float32 whatever a network computes in; refuse what is stored otherwise.

    Raises:
      ValueError: a floating-point array of the checkpoint's metadata `saved` has another dtype.
    """
    for name, (_, dtype) in _arrays(ocp.tree.to_flat_dict(saved, sep="/")).items():
        if jnp.issubdtype(dtype, jnp.floating) and dtype != jnp.float32:
            raise ValueError(
                f"{name} in checkpoint {path} is {dtype}, and parameters are float32: convert it, "
                "or train anew"
            )


def _arrays(flat: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array of a flat tree."""
    return {k: (tuple(v.shape), np.dtype(v.dtype)) for k, v in flat.items() if hasattr(v, "shape")}


def encode(data_state: Any) -> dict:
    """A data iterator's state, a JSON-able tree or bytes, as JSON."""
    if isinstance(data_state, bytes):
        return {"base64": base64.b64encode(data_state).decode()}
    return {"json": data_state}


def decode(encoded: Mapping) -> Any:
    """What `encode` made JSON of."""
    return base64.b64decode(encoded["base64"]) if "base64" in encoded else encoded["json"]
