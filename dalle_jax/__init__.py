"""The DALL-E family of text-to-image models in JAX.

`from dalle_jax import DallePipeline` draws images; `python -m dalle_jax --help` shows the verbs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dalle_jax import cpu

if TYPE_CHECKING:
    from dalle_jax.pipelines.text_to_image import DallePipeline

__version__ = "0.1.0"
__all__ = ["DallePipeline", "__version__"]

# Before anything imports jax, which reads these settings once.
cpu.configure()


def __getattr__(name: str):
    """Import the pipeline when it is first asked for, so that `import dalle_jax` stays quick."""
    if name == "DallePipeline":
        return import_module("dalle_jax.pipelines.text_to_image").DallePipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
