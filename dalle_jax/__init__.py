"""The DALL-E family of text-to-image models in JAX.

`DallePipeline` draws images, `train` trains the stages of a config; `python -m dalle_jax --help`
shows the commands.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dalle_jax import cpu

if TYPE_CHECKING:
    from dalle_jax.pipelines.text_to_image import DallePipeline
    from dalle_jax.trainer import train

__version__ = "0.1.0"
__all__ = ["DallePipeline", "__version__", "train"]

# Imported when they are first asked for, so that `import dalle_jax` stays quick.
_MODULES = {"DallePipeline": "pipelines.text_to_image", "train": "trainer"}

# Before anything imports jax, which reads these settings once.
cpu.configure()


def __getattr__(name: str):
    """Import what was asked for."""
    if name in _MODULES:
        return getattr(import_module(f"dalle_jax.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
