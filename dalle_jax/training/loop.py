"""The one training loop: batch, dispatch, metrics of the step before, scheduled events.

It knows no model: a `Training` hands it a stage and an iterator of batches.
"""

import time
from contextlib import closing
from pathlib import Path

import jax
import numpy as np

from dalle_jax.training.events import make_events, save
from dalle_jax.training.finished import steps_in
from dalle_jax.training.monitor import Monitor
from dalle_jax.training.session import (
    Progress,
    Session,
    Unread,
    announce,
    begin,
    compile_step,
    open_checkpoints,
)
from dalle_jax.training.sharding import put_batch
from dalle_jax.training.signals import Interrupted, Stop, StopSignals
from dalle_jax.training.state import TrainState
from dalle_jax.training.training import Batch, Training, set_up

WATCHED = ("loss", "grad_norm", "param_norm")
EXPLODED = 1e6  # losses are means of the order of 1; well before float32 ends, weights are lost


class Diverged(ValueError):
    """A loss or gradient that is not finite, or has exploded, ended training."""


def is_lost(value: float) -> bool:
    """Whether a loss or a norm is that of a training that has diverged."""
    return not abs(value) < EXPLODED


def fit(training: Training) -> TrainState:
    """Train to the last step, from the newest checkpoint of the run directory if there is one.

    Raises:
        Diverged: a loss, or the gradient's or the weights' norm, was not finite or above
            `EXPLODED`; the batch is in the run directory, and the step is not saved.
        Interrupted: SIGTERM or SIGINT came; a checkpoint of that step is saved, and the events
            that are left are made when the run continues.
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
                make_events(session, progress)
            train_step = None
            for step in range(progress.step + 1, last + 1):
                batch, on_device = read_batch(session, progress)
                if train_step is None:
                    train_step = compile_step(session, progress, on_device)
                progress.state, metrics = train_step(
                    progress.state, programs.frozen, on_device, programs.root_key
                )
                progress.step = step
                checkpoints.seal()
                # The device works on this step while the host reads the numbers of the one before.
                settle(session, progress)
                progress.unread = Unread(step, metrics, batch)
                progress.events = training.scheduled_at(step)
                if signals.after_step() is not None or progress.events:
                    settle(session, progress)
                    with monitor.meter.paused():
                        make_events(session, progress)
    return progress.state


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
            progress.state = progress.state or session.programs.init()
            save(session, progress, data_state)
            session.checkpoints.wait()
            session.monitor.bar.message(f"step {progress.step}: checkpoint saved")
        if isinstance(error, Stop):
            raise Interrupted(progress.step, session.signals.received) from None
        raise
    on_device = put_batch(batch, session.programs.mesh)
    if progress.unread is None or progress.unread.metrics["loss"].is_ready():
        session.monitor.meter.stalled(time.perf_counter() - asked)
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


def _diverged(run_dir: Path, unread: Unread, name: str, value: float) -> Diverged:
    """The error that ends such a training; its batch is written for `replay`."""
    process = f"_process{jax.process_index()}" if jax.process_count() > 1 else ""
    path = run_dir / f"diverged_{unread.step:08d}{process}.npz"
    np.savez(path, **unread.batch)
    steps = steps_in(run_dir / "checkpoints")
    saved = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    then = f"go on from it with --from_step={steps[-1]} and" if steps else "train anew with"
    where = "" if steps else ", in another --workdir"
    return Diverged(
        f"{name} is {value} at step {unread.step}; its batch is in {path}, {saved}; look at that "
        f"batch, or {then} a lower optimizer.learning_rate or optimizer.clip_norm{where}"
    )
