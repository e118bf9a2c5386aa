"""The run whose weights another one starts from, as `train.init_from` names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dalle_jax.runs.run import Run, open_run
from dalle_jax.runs.workdir import runs_in, workdir_of


@contextmanager
def open_init(init_from: str | Path, stage_name: str) -> Iterator[Run]:
    """A trained run: in a folder of its own, in a workdir or saved model, or in a model file.

    Of a workdir or saved model it is the run of the same stage.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no run of this version.
    """
    path = Path(init_from).expanduser()
    if (path / "config.json").exists():
        yield _trained(open_run(path))
        return
    with workdir_of(path) as workdir:
        runs = runs_in(workdir)
        if path.is_file():
            yield _trained(next(iter(runs.values())))
        elif stage_name in runs:
            yield _trained(runs[stage_name])
        else:
            raise FileNotFoundError(
                f"{path} holds no run of {stage_name} to start from; it has {', '.join(runs)}: "
                "give the folder of one"
            )


def load_init(run: Run) -> Any:
    """The weights that a run started from, where they are as they were.

    Raises:
        FileNotFoundError: they are not where its config says; the message names them.
        ValueError: there are others.
    """
    init_from = run.config[run.stage_name]["train"]["init_from"]
    wanted = f"{run.directory} holds adapters of the weights {run.history['init_from']}"
    try:
        with open_init(init_from, run.stage_name) as source:
            found = source.checkpoint_name
            params = source.load_params()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{wanted}, to be found at {init_from}: {error}") from error
    if found != run.history["init_from"]:
        raise ValueError(f"{wanted}, and {init_from} has {found}")
    return params


def _trained(run: Run) -> Run:
    if not run.step:
        raise FileNotFoundError(f"{run.directory} has no checkpoint to start from; train it first")
    return run
