"""Compiled programs are cached on disk: a second start loads what the first one compiled.

jax does the caching. This module names the folder, which belongs to one processor, number of cores
and jaxlib, since code that was compiled for another processor may crash; limits its size; and
removes what a killed process left half written. `JAX_COMPILATION_CACHE_DIR=FOLDER` names another
folder, `JAX_ENABLE_COMPILATION_CACHE=false` caches nothing.
"""

import fcntl
import os
import sys
from collections.abc import MutableMapping
from importlib.metadata import version
from pathlib import Path

from dalle_jax import cpu
from dalle_jax.files import cache_folder, short_hash

FOLDER = "JAX_COMPILATION_CACHE_DIR"
SWITCH = "JAX_ENABLE_COMPILATION_CACHE"
LIMITS = {
    "JAX_COMPILATION_CACHE_MAX_SIZE": str(2 * 10**9),  # bytes; the least recently used is deleted
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # small programs too: a start has dozens
}

KINDS = dict(zip(LIMITS, (int, float)))


def enable(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let jax cache programs, unless that is switched off or a folder is named.

    A folder that a parent process took from here is not a named one: it may have had other cores.
    Without a folder that can be written to, a sentence on stderr says that nothing is cached.
    """
    switched_off = environ.get(SWITCH, "").lower() in ("0", "false", "no", "off", "n", "f")
    named = FOLDER in environ and Path(environ[FOLDER]).parent != cache_folder("xla")
    if named or switched_off:
        return
    folder = folder_of_this_machine()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # who writes there can run code here
        remove_torn(folder)
    except OSError as error:
        print(f"warning: compiled programs are not cached: {error}", file=sys.stderr)
        return
    environ[FOLDER] = str(folder)
    for name, value in LIMITS.items():
        environ.setdefault(name, value)
    if "jax" in sys.modules:  # which has read the environment already
        _configure(environ)


def _configure(environ: MutableMapping[str, str]) -> None:
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        for name, kind in {FOLDER: str, **KINDS}.items():
            jax.config.update(name.lower(), kind(environ[name]))


def folder_of_this_machine() -> Path:
    """Of programs compiled for this processor, for as many cores, by this jaxlib."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return cache_folder("xla") / short_hash([cpu.processor(), cores, version("jaxlib")])


def remove_torn(folder: Path) -> None:
    """Delete entries of jax's cache that a process was killed while writing.

    jax reads such an entry again at each start, and up to 0.10 stores nothing more beside it. It
    writes KEY-cache, then KEY-atime, both under a lock; while another process holds that, nothing
    is deleted.
    """
    with open(folder / ".lockfile", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for entry in folder.glob("*-cache"):
            used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
            if not (entry.stat().st_size and used.exists() and used.stat().st_size):
                entry.unlink()
                used.unlink(missing_ok=True)
