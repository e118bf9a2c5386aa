"""The step that a training diverged at, made again: what in it is not finite, and since when."""

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.loop import is_lost
from dalle_jax.training.optim import Optimizer
from dalle_jax.training.sharding import path_name, put_batch, tree_shardings
from dalle_jax.training.state import TrainState
from dalle_jax.training.step import make_train_step
from dalle_jax.training.training import Programs, Training, set_up

FILE_NAME = re.compile(r"diverged_(\d+)(?:_process(\d+))?\.npz")
MOST_NAMED = 20  # arrays

# Makes no update; what it hands on as its state are the gradients.
KEEP_GRADIENTS = Optimizer(
    init=lambda params: params,
    update=lambda gradients, _, params: (jax.tree.map(jnp.zeros_like, params), gradients),
    learning_rate=lambda step: 0.0,
)


def replay(training: Training, path: str | Path) -> None:
    """Make the step of a batch that `fit` wrote again, and print what in it is lost.

    First with the weights of the newest checkpoint before it. If all is finite then, the update
    too, the batch is not the only cause: the steps from the checkpoint on are made again, with the
    data as it was, and that step is looked into with the weights that it had. The run is not
    changed.

    Args:
        training: the one that diverged.
        path: the batch's file, or that of one of the processes that shared it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no batch of this training.
    """
    if jax.process_count() > 1:
        raise ValueError("a batch is replayed by one process; start it without the others")
    step, batch = read_batch(path)
    batches = training.batches
    beginning = batches.get_state()
    check_fits(batch, next(batches), path)
    batches.set_state(beginning)
    programs = set_up(training)
    state = _restore_before(step, training, programs)
    at = int(state.step)
    print(f"step {step} of {training.run_dir}, {len(next(iter(batch.values())))} images of {path}")

    look = make_look(training, programs)
    problems = look(state, step, batch)
    print(f"with the weights of step {at}:", *problems or ["all finite"], sep="\n  ")
    if problems or at >= step - 1:
        return
    print(f"so the batch alone does not do it; steps {at + 1} to {step - 1} are made again")
    for _ in range(at, step - 1):
        on_device = put_batch(next(batches), programs.mesh)
        state, _ = programs.step(state, programs.frozen, on_device, programs.root_key)
    problems = look(state, step, batch)
    print(f"with the weights of step {step - 1}:", *problems or ["all finite"], sep="\n  ")
    came = next(batches)
    if any(not np.array_equal(came[name], batch[name]) for name in batch):
        print(f"the data gives another batch at step {step} now than the one in {path}")
    elif not problems:
        print(
            "it does not come again: a fault of that machine, or the devices or libraries were "
            "others; the same training goes on from its checkpoint"
        )


def _restore_before(step: int, training: Training, programs: Programs) -> TrainState:
    """The newest state before a step, with the data where it stood."""
    directory = training.run_dir / "checkpoints"
    with closing(Checkpoints(directory, read_only=True)) as checkpoints:
        restored = checkpoints.restore(programs.abstract_state, before=step)
    if restored is None:
        return programs.init()
    state, data_state = restored
    training.batches.set_state(data_state)
    return state


def read_batch(path: str | Path) -> tuple[int, dict[str, np.ndarray]]:
    """The step and the batch of a file that `fit` wrote; the shares of all processes as one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not called as such files are, or is torn, or would need a pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no batch {path}; the message of the divergence names it")
    match = FILE_NAME.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not called diverged_STEP.npz, as a training calls its batch")
    parts = [path]
    if match[2]:
        found = path.parent.glob(f"diverged_{match[1]}_process*.npz")
        numbered = {int(m[2]): file for file in found if (m := FILE_NAME.fullmatch(file.name))}
        parts = [numbered[number] for number in sorted(numbered)]
        if sorted(numbered) != list(range(len(numbered))):
            raise ValueError(f"of the batch of {path} there are only {', '.join(map(str, parts))}")
    batches = [_read(part) for part in parts]
    if any(batch.keys() != batches[0].keys() for batch in batches):
        raise ValueError(f"{', '.join(map(str, parts))} are not parts of one batch")
    return int(match[1]), {
        name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]
    }


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the batch of a training: {error}") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path} is torn: {error}") from error


def check_fits(batch: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], path) -> None:
    """Raise a ValueError if a batch is not of the arrays that the run's data has."""
    found, expected = (
        {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
        for arrays in (batch, wanted)
    )
    if found != expected:
        raise ValueError(
            f"{path} holds {found}, and this run's batches {expected}; give the --config, "
            "--workdir and --stage of the run that wrote it"
        )


def make_look(
    training: Training, programs: Programs
) -> Callable[[TrainState, int, Mapping[str, np.ndarray]], list[str]]:
    """(state, step, batch) -> a line for each quantity of that step that is lost.

    The step is that of training, with an optimizer that makes no update and keeps the gradients;
    if they are finite the update is made too, of a copy.
    """
    of_params = tree_shardings(programs.abstract_state.params, programs.mesh)
    compute = make_train_step(
        training.stage,
        KEEP_GRADIENTS._replace(freeze=training.optimizer.freeze),
        mesh=programs.mesh,
        state_shardings=TrainState(
            NamedSharding(programs.mesh, P()), of_params, of_params, of_params
        ),
        ema_decay=0.0,
        accumulate=training.settings.accumulate,
    )

    def look(state: TrainState, step: int, batch: Mapping[str, np.ndarray]) -> list[str]:
        lines = _not_finite("parameter", state.params)
        copies = jax.tree.map(jnp.copy, (state.params, state.params))  # the step consumes them
        before = TrainState(jnp.int32(step - 1), *copies, None)
        on_device = put_batch(batch, programs.mesh)
        after, metrics = compute(before, programs.frozen, on_device, programs.root_key)
        for name in ("loss", "grad_norm"):
            if is_lost(float(metrics[name])):
                lines.append(f"{name} is {metrics[name]}")
        if lines := lines + _not_finite("gradient", after.opt_state):
            return lines
        again = jax.tree.map(jnp.copy, state).replace(step=jnp.int32(step - 1))
        _, metrics = programs.step(again, programs.frozen, on_device, programs.root_key)
        lost = is_lost(float(metrics["param_norm"]))
        return [f"param_norm is {metrics['param_norm']} after the update"] if lost else []

    return look


def _not_finite(what: str, tree: Any) -> list[str]:
    """A line for each array of a tree that holds what is not finite."""
    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if count := int(leaf.size - jnp.isfinite(leaf).sum()):
            lines.append(f"{what} {path_name(path)}: {count} of {leaf.size} are not finite")
    more = [f"… and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
    return lines[:MOST_NAMED] + more
