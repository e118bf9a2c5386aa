"""The one training loop: batch, dispatch, metrics of the step before, what is due.

It knows no model: a `Training` hands it a stage and an iterator of batches.
"""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dalle_jax.training import pending
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.evaluate import evaluate
from dalle_jax.training.finished import steps_in
from dalle_jax.training.logging import validation_losses
from dalle_jax.training.memory import give_back
from dalle_jax.training.monitor import Monitor
from dalle_jax.training.sharding import put_batch
from dalle_jax.training.signals import Interrupted, Stop, StopSignals
from dalle_jax.training.state import TrainState
from dalle_jax.training.training import Batch, Programs, Training, set_up

WATCHED = ("loss", "grad_norm", "param_norm")
EXPLODED = 1e6  # losses are means of the order of 1; well before float32 ends, weights are lost


class Diverged(ValueError):
    """A loss or gradient that is not finite, or has exploded, ended training."""


def is_lost(value: float) -> bool:
    """Whether a loss or a norm is that of a training that has diverged."""
    return not abs(value) < EXPLODED


class Unread(NamedTuple):
    """A step that is dispatched and whose metrics are not read yet."""

    step: int
    metrics: dict[str, jax.Array]
    batch: Batch


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        state: after the steps dispatched so far.
        step: how many these are.
        unread: the last of them, until its metrics are read.
        events: what is due at this step and not made yet, in order.
    """

    state: TrainState
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


def fit(training: Training) -> TrainState:
    """Train to the last step, from the newest checkpoint of the run directory if there is one.

    Raises:
        Diverged: a loss, or the gradient's or the weights' norm, was not finite or above
            `EXPLODED`; the batch is in the run directory, and the step is not saved.
        Interrupted: SIGTERM or SIGINT came; a checkpoint of that step is saved, and what else was
            due is made when the run continues.
        Exception: what the iterator of batches raised; a checkpoint of the step before is saved.
    """
    programs, last = set_up(training), training.settings.steps
    with closing(open_checkpoints(training)) as checkpoints:
        progress = begin(training, programs, checkpoints)
        if progress.step >= last and not progress.events:
            return progress.state
        with (
            StopSignals() as signals,
            closing(Monitor(training, progress.step, progress.events)) as monitor,
        ):
            session = Session(training, programs, checkpoints, monitor, signals)
            announce(session, progress)
            if progress.events:
                make_due(session, progress)
            for step in range(progress.step + 1, last + 1):
                batch, on_device = read_batch(session, progress)
                progress.state, metrics = programs.step(
                    progress.state, programs.frozen, on_device, programs.root_key
                )
                progress.step = step
                checkpoints.seal()
                # The device works on this step while the host reads the numbers of the one before.
                settle(session, progress)
                progress.unread = Unread(step, metrics, batch)
                progress.events = training.due_at(step)
                if signals.after_step() is not None or progress.events:
                    settle(session, progress)
                    with monitor.paused():
                        make_due(session, progress)
    return progress.state


def open_checkpoints(training: Training) -> Checkpoints:
    """The checkpoints of a training, the best of them by the log's validation losses."""
    return Checkpoints(
        training.run_dir / "checkpoints",
        keep=training.settings.keep_checkpoints,
        losses=validation_losses(training.run_dir),
    )


def begin(training: Training, programs: Programs, checkpoints: Checkpoints) -> Progress:
    """The newest checkpoint with the events pending there, or the first state."""
    restored = checkpoints.restore(programs.abstract_state)
    if restored is None:
        state = programs.init()
    else:
        state, data_state = restored
        training.batches.set_state(data_state)
    step = int(state.step)
    made = training.due_at(training.settings.steps)
    events = [event for event in pending.read_as_first(training.run_dir, step) if event in made]
    pending.write(training.run_dir, step, events)
    return Progress(state, step, events=events)


def announce(session: Session, progress: Progress) -> None:
    """Show what is trained, from which step on."""
    count = sum(leaf.size for leaf in jax.tree.leaves(progress.state.params))
    verb = f"goes on from step {progress.step}" if progress.step else "starts"
    mesh = dict(session.programs.mesh.shape)
    session.monitor.message(f"{session.training.title} {verb}: {count:,} parameters, mesh {mesh}")


def read_batch(session: Session, progress: Progress) -> tuple[Batch, dict[str, jax.Array]]:
    """The next batch, as this process read it and on the devices.

    If there is none, or a signal comes first, the steps so far are saved.
    """
    batches, asked = session.training.batches, time.perf_counter()
    data_state = batches.get_state()
    try:
        with session.signals.breaking():
            batch = next(batches)
    except (Exception, Stop) as error:
        settle(session, progress)
        if jax.process_count() == 1:  # of several processes one can't save without the others
            save(session, progress, data_state)
            session.checkpoints.wait()
            session.monitor.message(f"step {progress.step}: checkpoint saved")
        if isinstance(error, Stop):
            raise Interrupted(progress.step, session.signals.received) from None
        raise
    on_device = put_batch(batch, session.programs.mesh)
    if progress.unread is None or progress.unread.metrics["loss"].is_ready():
        session.monitor.stalled(time.perf_counter() - asked)
    return batch, on_device


def settle(session: Session, progress: Progress) -> None:
    """Wait for the metrics of the step that is not read yet, check them, and log them."""
    unread, progress.unread = progress.unread, None
    if unread is None:
        return
    values = {name: float(value) for name, value in jax.device_get(unread.metrics).items()}
    for name in WATCHED:  # the weights' norm is that after the step, which may be saved
        if is_lost(values[name]):
            session.checkpoints.wait()
            raise _diverged(session.training.run_dir, unread, name, values[name])
    images = len(next(iter(unread.batch.values()))) * jax.process_count()
    session.monitor.step_done(unread.step, values, images)


def make_due(session: Session, progress: Progress) -> None:
    """Make the events of this step; save it if that is one of them, if it is the last, or on a
    signal, which breaks off validating and drawing.

    What is not made then is recorded beside the checkpoint.

    Raises:
        Interrupted: a signal came.
    """
    unfinished = None
    try:
        while progress.events:
            make(session, progress, progress.events[0])
            del progress.events[0]
            if session.checkpoints.newest == progress.step:
                pending.write(session.training.run_dir, progress.step, progress.events)
    except Stop as broken_off:
        unfinished = broken_off.unfinished
    stop = session.signals.received
    if stop is not None or progress.step == session.training.settings.steps:
        save(session, progress)
        session.checkpoints.wait()  # while signals are heard: one now must not tear the save
        stop = session.signals.received  # no stage is to follow after one meanwhile
    jax.block_until_ready(unfinished)
    give_back()
    if stop is not None:
        raise Interrupted(progress.step, stop)


def make(session: Session, progress: Progress, event: str) -> None:
    """Make one event of a step."""
    if event == "checkpoint":
        save(session, progress)
    elif event == "validation":
        validate(session, progress)
    else:
        draw(session, progress, event)


def validate(session: Session, progress: Progress) -> None:
    """Log the held-out loss of the averaged parameters, by which the best checkpoint is kept."""
    programs, signals, step = session.programs, session.signals, progress.step
    held_out = signals.between(session.training.hooks.validation())
    batches = (put_batch(batch, programs.mesh) for batch in held_out)
    with signals.breaking():
        values = evaluate(programs.eval_step, progress.state.ema_params, programs.frozen, batches)
    session.monitor.scalars(step, "validation", values)
    session.monitor.message(f"step {step}: validation loss {values['loss']:.5f} (EMA weights)")
    session.checkpoints.losses[step] = values["loss"]


def draw(session: Session, progress: Progress, event: str) -> None:
    """Log a preview or an evaluation of the averaged parameters."""
    signals, step = session.signals, progress.step
    signals.after_step()
    with signals.breaking():
        hook = getattr(session.training.hooks, event)
        drawn = hook(progress.state.ema_params, step, signals.computed)
    if event == "evaluation":
        session.monitor.scalars(step, event, drawn)
    elif drawn is not None:
        session.monitor.image(step, event, drawn)


def save(session: Session, progress: Progress, data_state: Any = None) -> None:
    """Start saving this step with the events pending, if that is not done.

    `data_state` is where the data stood after it, by default where it stands.
    """
    training, checkpoints = session.training, session.checkpoints
    if checkpoints.newest == progress.step:
        return
    left = [event for event in progress.events if event != "checkpoint"]
    pending.write(training.run_dir, progress.step, left)
    data_state = training.batches.get_state() if data_state is None else data_state
    checkpoints.save(progress.step, progress.state, data_state)


def _diverged(run_dir: Path, unread: Unread, name: str, value: float) -> Diverged:
    """The error that ends such a training; its batch is written for `replay`."""
    process = f"_process{jax.process_index()}" if jax.process_count() > 1 else ""
    path = run_dir / f"diverged_{unread.step:08d}{process}.npz"
    np.savez(path, **unread.batch)
    steps = steps_in(run_dir / "checkpoints")
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    return Diverged(
        f"{name} is {value} at step {unread.step}; its batch is in {path}, {kept}; look at that "
        "batch, or train anew with a lower optimizer.learning_rate or optimizer.clip_norm, in "
        "another --workdir, since a run keeps those it was made with"
    )
