"""The run whose weights another one starts from, as `train.init_from` names it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def _trained(run: Run) -> Run:
    if not run.step:
        raise FileNotFoundError(f"{run.directory} has no checkpoint to start from; train it first")
    return run
