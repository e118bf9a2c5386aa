"""Checkpoints on disk; this package is the only one that knows Orbax.

<directory>/<step>/state            the training state, a tree of arrays
<directory>/<step>/data             where the data iterator stood
<directory>/<step>/checksums.json   size and CRC-32 of each file of it
<directory>/damaged_<step>          one that could not be read, set aside

A checkpoint is written in the background under another name and appears under its step at once and
whole, or not at all.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers as policies

from dalle_jax.training.checkpoint.integrity import CHECKSUMS, damage, write_checksums
from dalle_jax.training.checkpoint.reading import (
    check_float32,
    encode,
    found_by_first,
    handlers,
    read_newest_good,
)
from dalle_jax.training.finished import steps_in

# Orbax warns of files that an item of a managed checkpoint never has; its errors are shown.
logging.getLogger("absl").addFilter(
    lambda record: record.levelno >= logging.ERROR or "/orbax/" not in record.pathname
)


def load_params(
    directory: str | Path, step: int | None = None, weights: Literal["ema", "raw"] = "ema"
) -> Any:
    """Only the parameters, on the first device, of the newest checkpoint or that of `step`.

    `weights` are their average over training, or as the optimizer left them.

    Raises:
      FileNotFoundError: there is no such checkpoint.
      ValueError: it is damaged, or holds parameters of another precision than float32.
    """
    steps = steps_in(directory)
    if not steps or (step is not None and step not in steps):
        raise FileNotFoundError(
            f"{directory} has no checkpoint{'' if step is None else f' of step {step}'}; "
            f"it has {', '.join(map(str, steps)) or 'none'}"
        )
    path = Path(directory).absolute() / str(steps[-1] if step is None else step)
    if reason := damage(path):
        raise ValueError(
            f"checkpoint {path} is damaged: {reason}; copy it anew, or give the training's command "
            "again, which goes on from the one before it"
        )
    name = {"ema": "ema_params", "raw": "params"}[weights]
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        saved = checkpointer.metadata(path / "state").item_metadata.tree[name]
        check_float32(saved, path)
        device = SingleDeviceSharding(jax.local_devices()[0])
        item = {
            name: jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), saved
            )
        }
        restore = ocp.args.PyTreeRestore(
            item=item,
            restore_args=ocp.checkpoint_utils.construct_restore_args(item),
            partial_restore=True,
        )
        return checkpointer.restore(path / "state", args=restore)[name]


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which leaves it to the loop when to stop.

    It would ask jax's preemption service itself, by the number of a step. The service takes that
    for where this process is in the loop's count, and has all processes stop at the count
    after it, which the loop has passed: a signal that came while a checkpoint was saved, or in what
    was drawn after that, was never heard of again.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class _Best(policies.PreservationPolicy):
    """Preserves the checkpoint of lowest loss, of equal ones the newest.

    A step without a loss, or with one that is not finite, is not compared. Orbax's policy sorts
    by loss, where a NaN leaves the others in any order, and forgets the losses at a restart.
    """

    def __init__(self, losses: Mapping[int, float]):
        self._losses = losses

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        known = [step for step in steps if math.isfinite(self._losses.get(step, math.nan))]
        best = min(known, key=lambda step: (self._losses[step], -step), default=None)
        return [step == best for step in steps]


class Checkpoints:
    """The checkpoints of one run: saved in the background, the newest few and the best stay.

    Attributes:
        losses: validation losses by step, to be added to; what the best is chosen by.
        newest: the step that was saved or restored last.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int = 2,
        losses: Mapping[int, float] | None = None,
        read_only: bool = False,
    ):
        """Open or make `directory`; the `keep` newest stay, and the one of lowest loss.

        With `read_only` nothing there is changed, not even what is damaged.
        """
        self.directory = Path(directory).absolute()
        self.losses = dict(losses or {})
        self.newest: int | None = None
        self._read_only = read_only
        self._unsealed: list[int] = []
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checksums")
        self._sealing: Future | None = None
        policy = policies.AnyPreservationPolicy([policies.LatestN(keep), _Best(self.losses)])
        self._manager = _Manager(
            self.directory,
            item_handlers=handlers(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def save(self, step: int, state: Any, data_state: Any) -> None:
        """Start saving; when this returns `state` may be donated. Waits for the save before."""
        self.wait()
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(encode(data_state))
        )
        with self._saving():
            self._manager.save(step, args=parts, force=True)
        self._unsealed.append(step)
        self.newest = step

    def restore(self, abstract_state: Any, before: int | None = None) -> tuple[Any, Any] | None:
        """(state, data state) of the newest good checkpoint, laid out as `abstract_state` says.

        None if there is no checkpoint, or none before the step `before`. A damaged one is named in
        a warning and set aside.

        Raises:
          ValueError: the newest good one holds another tree, or all are damaged.
          OSError: it could not be read, here or by another process, though it may be whole.
        """
        set_aside = None if self._read_only else self._set_aside
        found = read_newest_good(self.directory, abstract_state, before, set_aside)
        if found is None:
            return None
        self.newest, restored = found
        if not (self.directory / str(self.newest) / CHECKSUMS).exists() and not self._read_only:
            self._unsealed.append(self.newest)
        return restored

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            (self.directory / str(step)).rename(_unused(self.directory / f"damaged_{step}"))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoint {step} set aside")
        self._manager.reload()

    def wait(self) -> None:
        """Return when all that was saved is on disk."""
        with self._saving():
            self._manager.wait_until_finished()
        self._end_sealing()
        while self._begin_sealing():
            self._end_sealing()
        self._unsealed.clear()  # what is not there by now was not saved, or is the first process's

    def seal(self) -> None:
        """Have the checksums written of saves that have ended meanwhile; to be called often.

        A thread does it, since it reads the whole checkpoint, while training goes on.
        """
        if self._sealing is None or self._sealing.done():
            self._end_sealing()
            self._begin_sealing()

    def _begin_sealing(self) -> bool:
        for step in self._unsealed if jax.process_index() == 0 else ():
            if (path := self.directory / str(step)).is_dir():
                self._unsealed.remove(step)
                self._sealing = self._sealer.submit(write_checksums, path)
                return True
        return False

    def _end_sealing(self) -> None:
        if self._sealing is not None:
            sealing, self._sealing = self._sealing, None
            with self._saving():
                sealing.result()

    def close(self) -> None:
        """Finish saving and let the threads go."""
        try:
            self.wait()
        finally:
            self._sealer.shutdown()
            self._manager.close()

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            whole = ", ".join(map(str, steps_in(self.directory))) or "none"
            raise OSError(
                f"a checkpoint could not be saved in {self.directory} "
                f"({type(error).__name__}: {str(error)[:200]}); whole ones there: {whole}"
            ) from error


def newest_whole(directory: str | Path) -> int:
    """The step of the newest checkpoint that is as it was written; of several processes all agree.

    0 if there is none.
    """
    steps = reversed(steps_in(directory))
    return next((s for s in steps if found_by_first(damage, Path(directory) / str(s)) is None), 0)


def _unused(path: Path) -> Path:
    """`path`, or `path_2`, … if that is taken."""
    candidate, i = path, 2
    while candidate.exists():
        candidate, i = path.with_name(f"{path.name}_{i}"), i + 1
    return candidate
