"""What a training is made of: a stage, its data, a run directory, settings and hooks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from dalle_jax.seeds import key_of
from dalle_jax.training.optim import Optimizer
from dalle_jax.training.sharding import make_mesh, tree_shardings, with_shardings
from dalle_jax.training.state import Start, TrainState, create_state, init_state
from dalle_jax.training.step import make_eval_step, make_train_step

Params = Any  # a tree of arrays
Batch = Mapping[str, np.ndarray]
Wait = Callable[[Callable[[], jax.Array]], jax.Array]  # see `signals.StopSignals.computed`


class Batches(Protocol):
    """An endless iterator of one process's share of each batch, which can be set to any batch."""

    def __next__(self) -> Batch: ...

    def get_state(self) -> Any:
        """Which batch is next, as bytes or what JSON can hold."""

    def set_state(self, state: Any) -> None:
        """Let the next batch be the one that `get_state` was called before."""


@dataclass(frozen=True)
class Settings:
    """How long a training is, how one update is made, and how many steps lie between events.

    Args:
        steps: updates in all.
        ema_decay: of the average of the parameters, see `step.ema_rate`.
        seed: of the random parameters and of all noise.
        mesh: sizes of the axes data, fsdp and tensor, see `sharding.make_mesh`.
        accumulate: parts that a batch is worked through in.
        log_every, validate_every, preview_every, evaluate_every, checkpoint_every: steps.
        keep_checkpoints: how many of the newest stay, beside the best.
    """

    steps: int
    ema_decay: float
    seed: int = 0
    mesh: Mapping[str, int] = field(default_factory=lambda: {"data": -1})
    accumulate: int = 1
    log_every: int = 50
    validate_every: int = 1000
    preview_every: int = 1000
    evaluate_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2


@dataclass(frozen=True)
class Hooks:
    """What is made of the averaged parameters now and then, on all processes; None for nothing.

    The two that draw are given (parameters, step, wait), and call `wait(start)` instead of
    `start()` for what takes a device long, so that a signal can break it off.

    Args:
        validation: gives the held-out batches that the loss is the mean over.
        preview: gives an image uint8 [H, W, 3], or None for none this time.
        evaluation: gives the values of metrics, by name.
    """

    validation: Callable[[], Iterable[Batch]] | None = None
    preview: Callable[[Params, int, Wait], np.ndarray | None] | None = None
    evaluation: Callable[[Params, int, Wait], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Training:
    """All that `loop.fit` trains and `replay.replay` looks into.

    Args:
        stage: a `stages.base.Stage`, of which `init`, `loss` and `value_and_grad` are called.
        batches: of the training data.
        run_dir: gets `checkpoints/`, `metrics.jsonl`, `samples/` and `tensorboard/`.
        optimizer: turns gradients into updates.
        settings: see `Settings`.
        hooks: see `Hooks`.
        frozen: parameters of other stages, not trained and not saved.
        start: what parameters begin with by path, see `state.Start`; the others are random.
        title: names the training in what is shown.
        quiet: whether nothing is shown of it while it runs.
    """

    stage: Any
    batches: Batches
    run_dir: Path
    optimizer: Optimizer
    settings: Settings
    hooks: Hooks = Hooks()
    frozen: Params = None
    start: Start | None = None
    title: str = "train"
    quiet: bool = False

    def scheduled_at(self, step: int) -> list[str]:
        """The events of a step, in the order in which they are made; of the last step, all.

        Drawing comes after saving, as it may outlast the time that there is.
        """
        settings, hooks = self.settings, self.hooks
        periods = {
            "validation": hooks.validation and settings.validate_every,
            "checkpoint": settings.checkpoint_every,
            "preview": hooks.preview and settings.preview_every,
            "evaluation": hooks.evaluation and settings.evaluate_every,
        }
        is_last = step == settings.steps
        return [event for event, n in periods.items() if n and (is_last or step % n == 0)]


class Programs(NamedTuple):
    """What of a training is on the devices before the first step, and what runs there."""

    mesh: Mesh
    root_key: jax.Array  # step n draws from fold_in(root_key, n − 1)
    abstract_state: TrainState  # shapes and shardings
    frozen: Params
    init: Callable[[], TrainState]
    step: Callable  # (state, frozen, batch, root_key) -> (state, metrics); consumes the state
    eval_step: Callable  # (params, frozen, batch, key) -> metrics


def set_up(training: Training) -> Programs:
    """Mesh, keys, shapes and jitted functions of a training; nothing is compiled yet."""
    stage, optimizer, settings = training.stage, training.optimizer, training.settings
    mesh = make_mesh(settings.mesh)
    init_key, root_key = jax.random.split(key_of(settings.seed))
    create = partial(create_state, stage, optimizer)
    abstract = jax.eval_shape(create, init_key, training.start)
    shardings = tree_shardings(abstract, mesh)
    start = jax.device_put(training.start, tree_shardings(training.start, mesh))
    return Programs(
        mesh=mesh,
        root_key=root_key,
        abstract_state=with_shardings(abstract, shardings),
        frozen=jax.device_put(training.frozen, tree_shardings(training.frozen, mesh)),
        init=partial(init_state, create, init_key, shardings, start),
        step=make_train_step(
            stage,
            optimizer,
            mesh=mesh,
            state_shardings=shardings,
            ema_decay=settings.ema_decay,
            accumulate=settings.accumulate,
        ),
        eval_step=make_eval_step(stage),
    )
