"""Memory that is free and still counts as the process's."""

import contextlib
import ctypes


def give_back() -> None:
    """Return to the system what lies free between the C library's blocks; nothing without glibc.

    The library returns no hole by itself, and the heap's free end only unless it is set to keep
    it (`dalle_jax/cpu.py`). Each of a training's hundred threads leaves holes in other places, so
    that in hours ever more of the heap is resident.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
