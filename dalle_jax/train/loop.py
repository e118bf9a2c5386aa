"""The one training loop. It knows no model: a stage and an iterator of batches are handed to it."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from dalle_jax.seeds import key_of
from dalle_jax.train import due
from dalle_jax.train.checkpoint import Checkpoints
from dalle_jax.train.evaluate import evaluate
from dalle_jax.train.finished import steps_in
from dalle_jax.train.logging import RunLog
from dalle_jax.train.memory import give_back
from dalle_jax.train.meter import Meter
from dalle_jax.train.optim import Optimizer
from dalle_jax.train.progress import ProgressBar
from dalle_jax.train.sharding import make_mesh, put_batch, tree_shardings, with_shardings
from dalle_jax.train.signals import Interrupted, Stop, StopSignals
from dalle_jax.train.state import TrainState, create_state, init_state
from dalle_jax.train.step import make_eval_step, make_train_step


class Diverged(ValueError):
    """A loss or gradient that is not finite, or has exploded, ended training."""


WATCHED = ("loss", "grad_norm", "param_norm")
EXPLODED = 1e6  # losses are means of the order of 1; well before float32 ends, weights are lost


def is_lost(value: float) -> bool:
    """Whether a loss or a norm is that of a training that has diverged."""
    return not abs(value) < EXPLODED


def fit(
    stage,
    train_iterator,
    *,
    run_dir: str | Path,
    steps: int,
    seed: int,
    optimizer: Optimizer,
    mesh: Mapping[str, int],
    ema_decay: float,
    ema_warmup: bool = True,
    accumulate: int = 1,
    frozen: Any = None,
    start: Any = None,
    eval_batches: Callable[[], Iterable[Mapping[str, np.ndarray]]] | None = None,
    preview: Callable[[Any, int], np.ndarray | None] | None = None,
    evaluation: Callable[[Any, int], Mapping[str, float]] | None = None,
    log_every: int = 50,
    validate_every: int = 1000,
    preview_every: int = 1000,
    evaluate_every: int = 1000,
    checkpoint_every: int = 1000,
    keep_checkpoints: int = 2,
    title: str = "train",
    quiet: bool = False,
) -> TrainState:
    """Train `stage` to step `steps`, from the newest checkpoint in `run_dir` if there is one.

    Args:
      stage: has `init(key)` and `loss(params, frozen, batch, key, *, train)`.
      train_iterator: endless; `next` gives this process's share of a batch as numpy arrays;
        `get_state` and `set_state` tell and set where it stands.
      run_dir: gets `checkpoints/`, `metrics.jsonl`, `samples/` and `tensorboard/`.
      quiet: whether nothing is shown of the training while it runs.
      mesh: sizes of the axes data, fsdp and tensor; see `sharding.make_mesh`.
      frozen: parameters of other stages, not trained and not saved.
      start: parameters to begin with; None for `stage.init`'s.
      eval_batches: called for each validation; a finite iterable of batches.
      preview: (EMA parameters, step) -> uint8 [H, W, 3] or None; called on all processes.
      evaluation: (EMA parameters, step) -> metrics of what is drawn; called on all processes.

    Raises:
      Diverged: a loss, or the gradient's or the weights' norm, was not finite or above
        `EXPLODED`; the batch is in `run_dir`, and the step is not saved.
      Interrupted: SIGTERM or SIGINT came; a checkpoint of that step is saved, and what else was
        due is made when the run goes on.
      Exception: what `train_iterator` raised; a checkpoint of the step before is saved.
    """
    run_dir = Path(run_dir)
    training = set_up(
        stage,
        optimizer,
        seed=seed,
        mesh=mesh,
        ema_decay=ema_decay,
        ema_warmup=ema_warmup,
        accumulate=accumulate,
        frozen=frozen,
        start=start,
    )
    device_mesh, frozen, root_key = training.mesh, training.frozen, training.root_key
    eval_step = make_eval_step(stage)

    with closing(Checkpoints(run_dir / "checkpoints", keep=keep_checkpoints)) as checkpoints:
        restored = checkpoints.restore(training.abstract_state)
        if restored is None:
            state = training.init()
        else:
            state, data_state = restored
            train_iterator.set_state(data_state)
        step = int(state.step)
        made_by = {"validation": eval_batches, "preview": preview, "evaluation": evaluation}
        periods = (validate_every, preview_every, evaluate_every)
        every = {k: n for k, n in zip(due.KINDS, periods) if made_by[k] is not None}
        left = [kind for kind in due.left_at(run_dir, step) if kind in every]
        due.note(run_dir, step, left)
        if step >= steps and not left:
            return state

        first = jax.process_index() == 0
        log = RunLog(run_dir, from_step=step, again=left, write=first)
        bar = ProgressBar(steps, start=step, title=title, show=first and not quiet)
        meter = Meter()
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        verb = f"goes on from step {step}" if step else "starts"
        bar.message(f"{title} {verb}: {count:,} parameters, mesh {dict(device_mesh.shape)}")

        def settle(pending: Pending) -> None:
            """Wait for a step's metrics, check them, and write the line of a log point."""
            values = {name: float(value) for name, value in jax.device_get(pending.metrics).items()}
            for name in WATCHED:  # the weights' norm is that after the step, which may be saved
                if is_lost(values[name]):
                    checkpoints.wait()
                    raise _diverged(run_dir, pending, name, values[name], checkpoints.directory)
            meter.add(values)
            bar.advance(pending.step)
            if pending.step % log_every == 0 or pending.step == steps:
                numbers = meter.close(_rows(pending.batch) * jax.process_count())
                log.scalars(pending.step, numbers)
                bar.numbers(pending.step, numbers)

        def validate() -> float:
            batches = (put_batch(batch, device_mesh) for batch in signals.between(eval_batches()))
            with signals.breaking():
                numbers = evaluate(eval_step, state.ema_params, frozen, batches)
            log.scalars(step, {f"validation/{name}": value for name, value in numbers.items()})
            bar.message(f"step {step}: validation loss {numbers['loss']:.5f} (EMA weights)")
            return numbers["loss"]

        def draw(kind: str) -> None:
            """A preview or an evaluation."""
            signals.after_step()
            with signals.breaking():
                drawn = made_by[kind](state.ema_params, step)
            if kind == "evaluation":
                log.scalars(step, {f"evaluation/{name}": value for name, value in drawn.items()})
            elif drawn is not None:
                log.image(step, "preview", drawn)

        def pause(left: list[str], save_due: bool, saved: bool = False) -> None:
            """Make what is left to be made at this step, and save it.

            Drawing comes after saving, as it may outlast the time that there is. A signal breaks it
            off; what is not made then is noted beside the checkpoint.
            """
            loss = unfinished = None

            def save() -> None:
                nonlocal saved
                if not saved:
                    due.note(run_dir, step, left)
                    checkpoints.save(step, state, train_iterator.get_state(), loss)
                    saved = True

            def made(kind: str) -> None:
                left.remove(kind)
                if saved:
                    due.note(run_dir, step, left)

            try:
                if "validation" in left:
                    loss = validate()
                    if saved:
                        checkpoints.tell_loss(step, loss)
                    made("validation")
                if save_due:
                    save()
                for kind in list(left):
                    draw(kind)
                    made(kind)
            except Stop as broken_off:
                unfinished = broken_off.unfinished
            stop = signals.received
            if stop is not None or step == steps:
                save()
                checkpoints.wait()  # while signals are heard: one now must not tear the save
                stop = signals.received  # no stage is to follow after one meanwhile
            jax.block_until_ready(unfinished)
            give_back()
            if stop is not None:
                raise Interrupted(step, stop)

        def keep(data_state: Any) -> None:
            """Save where training is, though no checkpoint is due; alone, a process can't."""
            checkpoints.wait()
            if step not in steps_in(checkpoints.directory) and jax.process_count() == 1:
                checkpoints.save(step, state, data_state, None)
                checkpoints.wait()
                bar.message(f"step {step}: checkpoint saved")

        with StopSignals() as signals, closing(log), closing(bar):
            if left:
                pause(left, save_due=False, saved=True)
            pending = None
            while step < steps:
                asked = time.perf_counter()
                data_state = train_iterator.get_state()
                try:
                    with signals.breaking():
                        batch = next(train_iterator)
                except (Exception, Stop) as error:
                    if pending is not None:
                        settle(pending)
                    keep(data_state)
                    if isinstance(error, Stop):
                        raise Interrupted(step, signals.received) from None
                    raise
                on_device = put_batch(batch, device_mesh)
                if pending is None or not pending.busy():
                    meter.stalled(time.perf_counter() - asked)
                state, metrics = training.step(state, frozen, on_device, root_key)
                step += 1
                checkpoints.seal()
                # The device works on this step while the host reads the numbers of the one before.
                if pending is not None:
                    settle(pending)
                pending = Pending(step, metrics, batch)

                last, stop = step == steps, signals.after_step()
                left = [kind for kind, n in every.items() if last or step % n == 0]
                save_due = last or step % checkpoint_every == 0
                if left or save_due or stop is not None:
                    settle(pending)
                    pending = None
                    with meter.paused():
                        pause(left, save_due)
    return state


class Training(NamedTuple):
    """What there is before the first step."""

    mesh: Mesh
    root_key: jax.Array  # step n draws from fold_in(root_key, n − 1)
    abstract_state: TrainState  # shapes and places
    frozen: Any  # on the devices
    init: Callable[[], TrainState]
    step: Callable  # (state, frozen, batch, root_key) -> (state, metrics); consumes the state


def set_up(
    stage,
    optimizer: Optimizer,
    *,
    seed: int,
    mesh: Mapping[str, int],
    ema_decay: float,
    ema_warmup: bool = True,
    accumulate: int = 1,
    frozen: Any = None,
    start: Any = None,
) -> Training:
    """Devices, keys, shapes and the compiled step of a training; its arguments are `fit`'s."""
    device_mesh = make_mesh(mesh)
    init_key, root_key = jax.random.split(key_of(seed))
    abstract = jax.eval_shape(partial(create_state, stage, optimizer), init_key, start)
    shardings = tree_shardings(abstract, device_mesh)
    step = make_train_step(
        stage,
        optimizer,
        mesh=device_mesh,
        state_shardings=shardings,
        ema_decay=ema_decay,
        ema_warmup=ema_warmup,
        accumulate=accumulate,
    )
    return Training(
        mesh=device_mesh,
        root_key=root_key,
        abstract_state=with_shardings(abstract, shardings),
        frozen=jax.device_put(frozen, tree_shardings(frozen, device_mesh)),
        init=partial(init_state, stage, optimizer, init_key, shardings, start),
        step=step,
    )


class Pending(NamedTuple):
    """A step that is dispatched and whose metrics are not read yet."""

    step: int
    metrics: dict[str, jax.Array]
    batch: Mapping[str, np.ndarray]

    def busy(self) -> bool:
        """Whether the device still works on it."""
        return not self.metrics["loss"].is_ready()


def _rows(batch: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(batch.values())))


def _diverged(run_dir: Path, pending: Pending, name: str, value: float, checkpoints: Path):
    """The error that ends such a run; the batch is written for replay."""
    process = f"_process{jax.process_index()}" if jax.process_count() > 1 else ""
    path = run_dir / f"diverged_{pending.step:08d}{process}.npz"
    np.savez(path, **pending.batch)
    steps = steps_in(checkpoints)
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "there is no checkpoint yet"
    return Diverged(
        f"{name} is {value} at step {pending.step}; its batch is in {path}, {kept}; look at that "
        "batch, or train anew with a lower optimizer.learning_rate or optimizer.clip_norm, in "
        "another --workdir, since a run keeps those it was made with"
    )
