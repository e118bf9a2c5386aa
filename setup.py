"""Puts the configs into the built package, where `--config=quickstart` finds them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithConfigs(build_py):
    """As setuptools builds the package, and `configs` in it; a checkout has them beside it."""

    def run(self):
        """Build."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "dalle_jax", "configs")
            shutil.copytree("configs", target, dirs_exist_ok=True, ignore=_no_source)


def _no_source(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_file() and not name.endswith(".py")]


setup(cmdclass={"build_py": WithConfigs})
