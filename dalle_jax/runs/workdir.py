"""The runs of a workdir."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dalle_jax.runs import model_file
from dalle_jax.runs.nearby import nearby
from dalle_jax.runs.run import Run, open_run
from dalle_jax.stages import STAGES, upstream_of


def runs_in(workdir: str | Path) -> dict[str, Run]:
    """The runs of a workdir by stage, in the order of the table of stages.

    Raises:
        FileNotFoundError: there is none.
        ValueError: one is no run of this version.
    """
    workdir = Path(workdir).expanduser()
    found = {name: workdir / name for name in STAGES if (workdir / name / "config.json").exists()}
    if not found:
        raise FileNotFoundError(
            f"{workdir} holds no run (no folder in it has a config.json){nearby(workdir / '*')}; "
            "train one with `dalle-jax train`"
        )
    return {name: open_run(directory) for name, directory in found.items()}


@contextmanager
def workdir_of(path: str | Path) -> Iterator[Path]:
    """A workdir as it is; of a model file its folder's, or one made of the file alone.

    Raises:
        ValueError: the file is no model.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        yield path
    elif (path.parent / "config.json").exists() and path.name == model_file.NAME:
        yield path.parent.parent
    else:
        with TemporaryDirectory() as folder:
            model_file.unpack(path, Path(folder))
            yield Path(folder)


def upstream_names(runs: Mapping[str, Run]) -> set[str]:
    """The stages that others of these runs were trained with, which are used with EMA weights only.

    A stage that a run continues, as joint training does, is not among them.
    """
    return {
        name
        for run in runs.values()
        if not STAGES[run.stage_name].continues
        for name in upstream_of(run.stage_name, run.config)
    }


def clip_in(workdir: str | Path) -> Run | None:
    """The run of a workdir that puts images and captions into one space; None if none does.

    Raises:
        FileNotFoundError: the workdir holds no run.
    """
    runs = runs_in(workdir).values()
    return next((run for run in runs if STAGES[run.stage_name].embeds_captions()), None)


def warn_of_changed_data(runs: Iterable[Run]) -> None:
    """Warn of data that changed since the training of one of the runs; of each data set once."""
    changes = ((run.data["source"], change) for run in runs if (change := run.known_change()))
    for change in dict(changes).values():
        warnings.warn(change, stacklevel=3)
