"""The one training loop. It knows no model: a stage and an iterator of batches are handed to it."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dalle_jax.train.checkpoint import Checkpoints, steps_in
from dalle_jax.train.logging import RunLog
from dalle_jax.train.optim import Optimizer
from dalle_jax.train.progress import ProgressBar
from dalle_jax.train.sharding import make_mesh, put_batch, tree_shardings, with_shardings
from dalle_jax.train.state import TrainState, create_state
from dalle_jax.train.step import make_eval_step, make_train_step

# Validation draws the same noise each time and in every run, so that its losses can be compared.
VALIDATION_SEED = 0


class Interrupted(Exception):
    """A signal ended training after a checkpoint was saved; `exit_code` is 128 + the signal."""

    def __init__(self, step: int, signum: int):
        """`step` is the step of the checkpoint."""
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} at step {step}, checkpoint saved; "
            f"the same command continues from step {step}"
        )
        self.step, self.exit_code = step, 128 + signum


class Diverged(ValueError):
    """A loss or gradient that is not finite ended training."""


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
    eval_batches: Callable[[], Iterable[Mapping[str, np.ndarray]]] | None = None,
    preview: Callable[[Any, int], np.ndarray | None] | None = None,
    log_every: int = 50,
    validate_every: int = 1000,
    preview_every: int = 1000,
    checkpoint_every: int = 1000,
    keep_checkpoints: int = 2,
    title: str = "train",
) -> TrainState:
    """Train `stage` to step `steps`, from the newest checkpoint in `run_dir` if there is one.

    Args:
      stage: has `init(key)` and `loss(params, frozen, batch, key, *, train)`.
      train_iterator: endless; `next` gives this process's share of a batch as numpy arrays;
        `get_state` and `set_state` tell and set where it stands.
      run_dir: gets `checkpoints/`, `metrics.jsonl`, `samples/` and `tensorboard/`.
      mesh: sizes of the axes data, fsdp and tensor; see `sharding.make_mesh`.
      frozen: parameters of other stages, not trained and not saved.
      eval_batches: called for each validation; a finite iterable of batches.
      preview: (EMA parameters, step) -> uint8 [H, W, 3] or None; called on all processes.

    Raises:
      Diverged: a loss or gradient norm was not finite; the batch is in `run_dir`.
      Interrupted: SIGTERM or SIGINT came; a checkpoint of that step is saved.
    """
    run_dir = Path(run_dir)
    device_mesh = make_mesh(mesh)
    init_key, root_key = jax.random.split(jax.random.key(seed))
    abstract = jax.eval_shape(lambda key: create_state(stage, optimizer, key), init_key)
    shardings = tree_shardings(abstract, device_mesh)
    frozen = jax.device_put(frozen, tree_shardings(frozen, device_mesh))
    train_step = make_train_step(
        stage,
        optimizer,
        mesh=device_mesh,
        state_shardings=shardings,
        ema_decay=ema_decay,
        ema_warmup=ema_warmup,
        accumulate=accumulate,
    )
    eval_step = make_eval_step(stage)

    checkpoints = Checkpoints(run_dir / "checkpoints", keep=keep_checkpoints)
    restored = checkpoints.restore(with_shardings(abstract, shardings))
    if restored is None:
        init = jax.jit(partial(create_state, stage, optimizer), out_shardings=shardings)
        state = init(init_key)
    else:
        state, data_state = restored
        train_iterator.set_state(data_state)
    step = int(state.step)
    log = RunLog(run_dir, from_step=step, write=jax.process_index() == 0)
    bar = ProgressBar(steps, start=step, title=title, show=jax.process_index() == 0)
    count = sum(leaf.size for leaf in jax.tree.leaves(abstract.params))
    bar.message(
        f"{title}: {count:,} parameters, mesh {dict(device_mesh.shape)}, "
        + (f"goes on from step {step}" if step else "starts at step 0")
    )

    window = Window()

    def settle(pending: Pending) -> None:
        """Wait for a step's metrics, check them, and write the line of a log point."""
        values = {name: float(value) for name, value in jax.device_get(pending.metrics).items()}
        bad = [name for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        if bad:
            path = _save_batch(run_dir, pending)
            checkpoints.wait()
            kept = steps_in(checkpoints.directory)
            raise Diverged(
                f"{bad[0]} is {values[bad[0]]} at step {pending.step}: its batch is in {path}, "
                + (f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint yet")
                + "; lower the learning rate or clip the gradient"
            )
        window.add(values)
        bar.advance(pending.step)
        if pending.step % log_every == 0 or pending.step == steps:
            numbers = window.close(len(next(iter(pending.batch.values()))) * jax.process_count())
            log.scalars(pending.step, numbers)
            bar.numbers(pending.step, numbers)

    def validate() -> float:
        batches = (put_batch(batch, device_mesh) for batch in eval_batches())
        numbers = evaluate(eval_step, state.ema_params, frozen, batches)
        log.scalars(step, {f"validation/{name}": value for name, value in numbers.items()})
        bar.message(f"step {step}: validation loss {numbers['loss']:.5f} (EMA weights)")
        return numbers["loss"]

    pending = None
    with StopSignals() as signals, closing(checkpoints), closing(log), closing(bar):
        while step < steps:
            with window.waiting_for_data(pending):
                batch = next(train_iterator)
                device_batch = put_batch(batch, device_mesh)
            state, metrics = train_step(state, frozen, device_batch, root_key)
            step += 1
            # The device works on this step while the host reads the numbers of the one before.
            if pending is not None:
                settle(pending)
            pending = Pending(step, metrics, batch)

            last = step == steps
            validation_due = eval_batches is not None and (last or step % validate_every == 0)
            preview_due = preview is not None and (last or step % preview_every == 0)
            save_due = last or step % checkpoint_every == 0 or signals.received is not None
            if not (validation_due or preview_due or save_due):
                continue
            settle(pending)
            pending = None
            with window.paused():
                validation_loss = validate() if validation_due else None
                if preview_due and (grid := preview(state.ema_params, step)) is not None:
                    log.image(step, "preview", grid)
                if save_due:
                    checkpoints.save(step, state, train_iterator.get_state(), validation_loss)
            if signals.received is not None and not last:
                checkpoints.wait()
                raise Interrupted(step, signals.received)
    return state


def evaluate(eval_step, params, frozen, batches) -> dict[str, float]:
    """Mean of each metric over `batches`, weighted by their size; NaN entries are left out.

    A metric that has nothing to say about a batch (an empty bin of timesteps) is NaN there.
    """
    key = jax.random.key(VALIDATION_SEED)
    sums: dict[str, float] = {}
    weights: dict[str, float] = {}
    for i, batch in enumerate(batches):
        size = len(next(iter(batch.values())))
        metrics = jax.device_get(eval_step(params, frozen, batch, jax.random.fold_in(key, i)))
        for name, value in metrics.items():
            weight = 0.0 if np.isnan(value) else size
            sums[name] = sums.get(name, 0.0) + (weight * float(value) if weight else 0.0)
            weights[name] = weights.get(name, 0.0) + weight
    if not sums:
        raise ValueError("the validation data gave no batch; make batch_size smaller")
    return {name: sums[name] / weights[name] if weights[name] else math.nan for name in sums}


class Pending(NamedTuple):
    """A step that is dispatched and whose metrics are not read yet."""

    step: int
    metrics: dict[str, jax.Array]
    batch: Mapping[str, np.ndarray]

    def ready(self) -> bool:
        """Whether the device is done with it."""
        return self.metrics["loss"].is_ready()


def _save_batch(run_dir: Path, pending: Pending) -> Path:
    suffix = f"_process{jax.process_index()}" if jax.process_count() > 1 else ""
    path = run_dir / f"diverged_{pending.step:08d}{suffix}.npz"
    np.savez(path, **pending.batch)
    return path


class Window:
    """Means of the metrics and the speed since the last log point."""

    def __init__(self):
        """Time counts from the end of the first step, whose compilation would spoil the speed."""
        self._began: float | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._timed_steps = 0
        self._stalled = 0.0

    def add(self, values: Mapping[str, float]) -> None:
        """One more step is done."""
        for name, value in values.items():
            if not math.isnan(value):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        if self._began is None:
            self._began = time.perf_counter()
            self._stalled = 0.0
        else:
            self._timed_steps += 1

    @contextmanager
    def waiting_for_data(self, pending: Pending | None):
        """Counts a wait as a stall if the device had run dry by its end, an upper bound."""
        start = time.perf_counter()
        yield
        if pending is None or pending.ready():
            self._stalled += time.perf_counter() - start

    @contextmanager
    def paused(self):
        """Time in here (validation, previews, saving) is not training time."""
        start = time.perf_counter()
        yield
        if self._began is not None:
            self._began += time.perf_counter() - start

    def close(self, batch_size: int) -> dict[str, float]:
        """The numbers of this window; the next one begins."""
        numbers = {name: self._sums[name] / self._counts[name] for name in self._sums}
        now = time.perf_counter()
        if self._timed_steps:
            seconds = now - self._began
            numbers["images_per_second"] = self._timed_steps * batch_size / seconds
            numbers["data_stall"] = min(self._stalled / seconds, 1.0)
        self._began = now
        self._start_over()
        return numbers


class StopSignals:
    """Notes SIGTERM and SIGINT instead of dying; a second one ends the process at once."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        """Listen on entry; `received` is the number of the signal that came, or None."""
        self.received: int | None = None

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python hears signals only there
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def _note(self, signum, frame):
        self.received = signum
        self._restore()

    def _restore(self):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def __exit__(self, *exception):
        self._restore()
