"""The events of a step: saving, validation, previews and evaluations."""

from typing import Any

import jax

from dalle_jax.training import pending
from dalle_jax.training.evaluate import evaluate
from dalle_jax.training.memory import give_back
from dalle_jax.training.session import Progress, Session
from dalle_jax.training.sharding import put_batch
from dalle_jax.training.signals import Interrupted, Stop


def make_events(session: Session, progress: Progress) -> None:
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
    """Log the held-out loss of the averaged parameters, by which the best checkpoint is chosen."""
    programs, signals, step = session.programs, session.signals, progress.step
    held_out = signals.between(session.training.hooks.validation())
    batches = (put_batch(batch, programs.mesh) for batch in held_out)
    with signals.breaking():
        values = evaluate(programs.eval_step, progress.state.ema_params, programs.frozen, batches)
    session.monitor.scalars(step, "validation", values)
    session.monitor.bar.message(f"step {step}: validation loss {values['loss']:.5f} (EMA weights)")
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
        path = session.monitor.log.image(step, event, drawn)
        session.monitor.bar.message(f"step {step}: {path}")


def save(session: Session, progress: Progress, data_state: Any = None) -> None:
    """Start saving this step with the events pending, if that is not done.

    `data_state` is the position of the data after it, by default the current one.
    """
    training, checkpoints = session.training, session.checkpoints
    if checkpoints.newest == progress.step:
        return
    left = [event for event in progress.events if event != "checkpoint"]
    pending.write(training.run_dir, progress.step, left)
    data_state = training.batches.get_state() if data_state is None else data_state
    checkpoints.save(progress.step, progress.state, data_state)
