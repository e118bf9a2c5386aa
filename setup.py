"""Puts the configs and experiments into the built package, where they are found by name."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """As setuptools builds the package, and configs/ and experiments/ in it.

    A checkout has them beside it. Of the experiments come those that a verb runs, which are sweeps
    and figures, and the records that `dalle-jax figure --list` reads.
    """

    def run(self):
        """Build."""
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib, "dalle_jax")
        (package / "configs.py").unlink()  # the folder takes its place
        for file in _files():
            (package / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, package / file)


def _files() -> Iterator[Path]:
    yield from Path("configs").rglob("*.py")
    yield from Path("experiments/results").glob("*.json")
    for file in Path("experiments").rglob("*.py"):
        if any(f"\ndef {name}(" in file.read_text("utf-8") for name in ("get_sweep", "get_figure")):
            yield file


setup(cmdclass={"build_py": WithConfigs})
