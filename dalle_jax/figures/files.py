"""The figures of experiments/: their files, and the figure that a file defines."""

from pathlib import Path

import dalle_jax
from dalle_jax.config.user_files import UserFile
from dalle_jax.figures.figure import Figure
from dalle_jax.nearest import nearest

EXPERIMENTS = Path(dalle_jax.__file__).parents[1] / "experiments"


def figure_files() -> dict[str, Path]:
    """The files of experiments/figures by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not EXPERIMENTS.is_dir():
        raise FileNotFoundError(
            f"there is no {EXPERIMENTS}: figures belong to a checkout of the project and are "
            "not in its package; run `pip install -e .` there, or give a figure's file"
        )
    return {path.stem: path for path in sorted((EXPERIMENTS / "figures").glob("*.py"))}


def find_file(name: str) -> Path:
    """The file of a figure, by its name or as a path.

    Raises:
        ValueError: there is none; the message lists the known figures.
    """
    if name.endswith(".py") and (path := Path(name).expanduser()).is_file():
        return path
    known = figure_files()
    if name not in known:
        raise ValueError(
            f"there is no figure {name!r}{nearest(name, known)}; known are {', '.join(known)}"
        )
    return known[name]


def full_scale(path: Path) -> list[str]:
    """The full-scale configs that a figure's file names in PAPER; none if it has no network."""
    return [f"configs/dalle2/{name}.py" for name in UserFile(path).get("PAPER", ())]


def load_figure(path: Path, scale: str) -> Figure:
    """What `get_figure(scale)` of a file gives.

    Raises:
        ValueError: it defines no figure, or none of this scale.
    """
    return UserFile(path).make("get_figure", scale, Figure)
