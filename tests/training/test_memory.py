"""Free memory is handed back to the system."""

import platform
from pathlib import Path

import numpy as np
import pytest

from dalle_jax.training import memory

BLOCK = 2**16  # bytes: small enough to come from the heap


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is known to keep holes")
def test_holes_between_blocks_in_use_are_given_back():
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(4000)]
    left = blocks[::100]
    full = resident()
    del blocks
    memory.give_back()
    assert full - resident() > 0.8 * 4000 * BLOCK
    assert all((block == 1).all() for block in left)


def test_without_the_function_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.give_back()
