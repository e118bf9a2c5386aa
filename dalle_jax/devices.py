"""What jax is asked to compute on and finds not, as one sentence."""

import os
import traceback
from importlib.util import find_spec

from dalle_jax.nearest import nearest

# By the names that JAX_PLATFORMS takes: what it is, the extra of jax, a package that the extra has.
PLATFORMS = {
    "cuda": ("GPU", "jax[cuda12]", ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")),
    "gpu": ("GPU", "jax[cuda12]", ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")),
    "rocm": ("AMD GPU", "jax's plugin for ROCm", ("jax_plugins.xla_rocm7", "jax_rocm7_plugin")),
    "tpu": ("TPU", "jax[tpu]", ("libtpu",)),
}


def explain_failure(error: Exception) -> str | None:
    """The sentence for an error with which jax starts no device; None for any other error.

    jax 0.10 raises a RuntimeError, or for `cuda` without its plugin an AssertionError without text.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not frames[-1].filename.endswith("xla_bridge.py"):
        return None
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return sentence(platforms) if platforms else f"jax starts no device: {error or 'no reason'}"


def check_platforms(platforms: str) -> None:
    """Refuse platforms that can't be, as far as can be seen without jax; for who starts others.

    Raises:
        ValueError: the name is unknown, or the package that it needs is not installed.
    """
    asked = platforms.split(",") if platforms else []
    known = [name for name in asked if name in PLATFORMS]
    there = any(_is_installed(package) for name in known for package in PLATFORMS[name][2])
    if asked and "cpu" not in asked and not there and not _is_installed("jax_plugins"):
        raise ValueError(sentence(platforms))


def sentence(platforms: str) -> str:
    """Why jax can't compute on `platforms`, and what to do."""
    for name in platforms.split(","):
        if name in PLATFORMS:
            device, package, _ = PLATFORMS[name]
            return (
                f"JAX_PLATFORMS is {platforms}, but no {device} is there or {package} is not "
                "installed; unset JAX_PLATFORMS to compute on what is there"
            )
    known = ("cpu", *PLATFORMS)
    hint = nearest(platforms.strip(), known) or f"; known are {', '.join(known)}"
    return f"JAX_PLATFORMS is {platforms!r}, which is no platform of jax{hint}"


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of what it lies in
        return False
