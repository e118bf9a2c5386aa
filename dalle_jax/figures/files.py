"""What the file of a figure defines."""

from pathlib import Path

from dalle_jax.config.user_files import UserFile
from dalle_jax.figures.figure import Figure


def full_scale(path: Path) -> list[str]:
    """The full-scale configs that a figure's file names in PAPER; none if it has no network."""
    return [f"configs/dalle2/{name}.py" for name in UserFile(path).get("PAPER", ())]


def load_figure(path: Path, scale: str) -> Figure:
    """What `get_figure(scale)` of a file gives.

    Raises:
        ValueError: it defines no figure, or none of this scale.
    """
    return UserFile(path).make("get_figure", scale, Figure)
