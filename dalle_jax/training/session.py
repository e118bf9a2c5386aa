"""A training while it runs: where it is, and what serves it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import jax

from dalle_jax.training import pending
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.logging import validation_losses
from dalle_jax.training.monitor import Monitor
from dalle_jax.training.signals import StopSignals
from dalle_jax.training.state import TrainState
from dalle_jax.training.training import Batch, Programs, Training


class Unread(NamedTuple):
    """A step that is dispatched and whose metrics are not read yet."""

    step: int
    metrics: dict[str, jax.Array]
    batch: Batch


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        state: after the steps dispatched so far; None before `compile_step` makes the first.
        step: how many these are.
        unread: the last of them, until its metrics are read.
        events: those of this step that are not made yet, in order.
    """

    state: TrainState | None
    step: int
    unread: Unread | None = None
    events: list[str] = field(default_factory=list)


class Session(NamedTuple):
    """A training, and what serves it while it runs."""

    training: Training
    programs: Programs
    checkpoints: Checkpoints
    monitor: Monitor
    signals: StopSignals


def open_checkpoints(training: Training) -> Checkpoints:
    """The checkpoints of a training, the best of them by the log's validation losses."""
    return Checkpoints(
        training.run_dir / "checkpoints",
        keep=training.settings.keep_checkpoints,
        losses=validation_losses(training.run_dir),
    )


def begin(training: Training, programs: Programs, checkpoints: Checkpoints) -> Progress:
    """The newest checkpoint with the events pending there, or step 0."""
    restored, step = checkpoints.restore(programs.abstract_state), 0
    state = None
    if restored is not None:
        state, data_state = restored
        training.batches.set_state(data_state)
        step = int(state.step)
    made = training.scheduled_at(training.settings.steps)
    events = [event for event in pending.read_as_first(training.run_dir, step) if event in made]
    pending.write(training.run_dir, step, events)
    return Progress(state, step, events=events)


def compile_step(session: Session, progress: Progress, batch: dict[str, jax.Array]) -> Callable:
    """`programs.step`, compiled for batches as this one.

    The first state, if there is none yet, is made meanwhile: its program takes a fifth of the time
    of the step's, and compilation leaves cores idle.
    """
    programs = session.programs
    session.monitor.bar.message("compiling the training step, or reading it from the cache …")
    lowered = programs.step.lower(
        programs.abstract_state, programs.frozen, batch, programs.root_key
    )
    with ThreadPoolExecutor(1) as background:
        compiled = background.submit(lowered.compile)
        if progress.state is None:
            progress.state = programs.init()
        return compiled.result()


def announce(session: Session, progress: Progress) -> None:
    """Show what is trained, from which step on."""
    count = sum(leaf.size for leaf in jax.tree.leaves(session.programs.abstract_state.params))
    verb = f"goes on from step {progress.step}" if progress.step else "starts"
    mesh = dict(session.programs.mesh.shape)
    text = f"{session.training.title} {verb}: {count:,} parameters, mesh {mesh}"
    session.monitor.bar.message(text)
