"""The configs as modules: `from dalle_jax.configs import quickstart`.

In a checkout their folder is configs/, beside this package; in a built package it takes the place
of this file.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "configs")]
