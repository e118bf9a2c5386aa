"""How fast this machine trains, guessed from how fast it multiplies matrices.

For the hours of a sweep where no earlier run has logged its speed.
"""

import json
import time
from pathlib import Path

import numpy as np

from dalle_jax.files import write_atomically

# Matrices that OpenBLAS multiplies in one thread: where two share a product, each burns CPU time
# waiting for the other, and beside other work the rate came out as a quarter of what it is. A stack
# is in the cache, and is multiplied at nine tenths of a large product's rate.
SIDE, STACK, PRODUCTS = 64, 32, 8
ROUNDS = 10  # of a millisecond; the fastest counts, since the others were disturbed
# Of the rate of float32 matrix products, which a training of the small configs reaches on CPU cores
# (docs/performance.md).
SHARE_IN_TRAINING = 0.35


def guessed_rate(cores: int, machine: str, cache: Path) -> float:
    """Operations a second of a training on some of this machine's CPU cores.

    The measured rate is stored in the file `cache`, under the machine's name.
    """
    rates = _read(cache)
    if machine not in rates:
        rates[machine] = matrix_product_rate()
        text = json.dumps(rates, indent=1)
        write_atomically(cache, lambda file: file.write(text.encode()))
    return SHARE_IN_TRAINING * rates[machine] * cores


def matrix_product_rate() -> float:
    """Operations of float32 matrix products in a second of one core.

    By CPU time, since that counts no second in which others had the core.
    """
    a = np.random.default_rng(0).standard_normal((STACK, SIDE, SIDE), np.float32)
    product = np.empty_like(a)
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(PRODUCTS):
            np.matmul(a, a, out=product)
        seconds.append(time.process_time() - began)
    return PRODUCTS * STACK * 2 * SIDE**3 / max(min(seconds), 1e-9)


def _read(cache: Path) -> dict[str, float]:
    """The rates that were measured before; none where the file is missing or damaged."""
    try:
        rates = json.loads(cache.read_bytes())
        return {name: float(rate) for name, rate in rates.items() if float(rate) > 0}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
