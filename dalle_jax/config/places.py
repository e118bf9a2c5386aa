"""Where the project's own configs and experiments lie: in the built package, or beside it."""

from pathlib import Path

import dalle_jax
from dalle_jax import configs
from dalle_jax.nearest import nearest

PACKAGE = Path(dalle_jax.__file__).parent
CONFIGS = Path(configs.__path__[0])
EXPERIMENTS = CONFIGS.with_name("experiments")


def experiment_files(function: str) -> dict[str, Path]:
    """The files of experiments/ that define `function`, get_sweep or get_figure, by name."""
    files = sorted(EXPERIMENTS.rglob("*.py"))
    return {path.stem: path for path in files if f"\ndef {function}(" in path.read_text("utf-8")}


def find_experiment(name: str | Path, function: str) -> Path:
    """The file of a sweep or figure: a path, or a name such as "guidance".

    Raises:
        FileNotFoundError: there is neither such a file nor one of the project's of that name.
        ValueError: it is a folder.
    """
    path = Path(name).expanduser()
    known = experiment_files(function)
    if path.is_file():
        return path
    if str(name) in known:
        return known[str(name)]
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give an experiment file in it")
    what = function.removeprefix("get_")
    beside = [file.name for file in sorted(path.parent.glob("*.py"))]
    raise FileNotFoundError(
        f"there is no {what} {str(name)!r}, neither as a file nor in {EXPERIMENTS}"
        f"{nearest(path.name, [*beside, *known])}; known are {', '.join(known)}"
    )
