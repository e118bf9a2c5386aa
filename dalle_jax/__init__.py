"""The DALL-E family of text-to-image models in JAX.

`DallePipeline` draws images; `train` trains the stages of a config, `evaluate` measures what is
trained, `sweep` and `figure` do both for many configs. `python -m dalle_jax --help` shows the same
as commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dalle_jax import cpu

if TYPE_CHECKING:
    from dalle_jax.evaluation.workdir import evaluate
    from dalle_jax.figures.make import figure
    from dalle_jax.pipelines.text_to_image import DallePipeline
    from dalle_jax.sweeps.sweep import sweep
    from dalle_jax.trainer import train

__version__ = "0.1.0"
__all__ = ["DallePipeline", "__version__", "evaluate", "figure", "sweep", "train"]

# Imported when they are first asked for, so that `import dalle_jax` stays quick.
_MODULES = {
    "DallePipeline": "pipelines.text_to_image",
    "train": "trainer",
    "evaluate": "evaluation.workdir",
    "sweep": "sweeps.sweep",
    "figure": "figures.make",
}

# Before anything imports jax, which reads these settings once.
cpu.configure()


def __getattr__(name: str):
    """Import what was asked for."""
    if name in _MODULES:
        from dalle_jax import compilation_cache

        compilation_cache.enable()
        return getattr(import_module(f"dalle_jax.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
