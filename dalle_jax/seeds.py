"""Seeds: which numbers are one, and the random key of each."""

import operator
from collections.abc import Sequence
from typing import Any

LIMIT = 2**64


def checked_seed(seed: Any, name: str = "seed") -> int:
    """`seed` as an int, if it is a whole number from 0 to 2**64 − 1; `name` is said in the error.

    Raises:
        ValueError: it is another number, or none.
    """
    number = as_whole(seed)
    if number is None or not 0 <= number < LIMIT:
        raise ValueError(f"{name} is {seed!r}; it must be a whole number from 0 to 2**64 − 1")
    return number


def as_whole(value: Any) -> int | None:
    """A whole number, also one of numpy or jax, as an int; None for anything else, as True."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def key_of(seed: Any, name: str = "seed"):
    """The typed random key of a seed, another one for each of the 2**64.

    `jax.random.key(seed)` as it is with 64 bits enabled; without, it takes only the lower 32 bits,
    and 2**32 + 5 would draw what 5 draws.
    """
    import jax
    import numpy as np

    seed = checked_seed(seed, name)
    if seed < 2**32:
        return jax.random.key(seed)
    with jax.enable_x64(True):
        return jax.random.key(np.uint64(seed))


def checked_seeds(seed: Any, count: int) -> list[int]:
    """The seed of each of `count` images, of one seed for all or of a list with one for each.

    Raises:
        ValueError: one is no seed, or there are neither one nor `count`.
    """
    if as_whole(seed) is not None or isinstance(seed, str) or not hasattr(seed, "__len__"):
        return [checked_seed(seed)] * count
    if len(seed) != count:
        raise ValueError(f"{len(seed)} seeds do not fit {count} images; give one, or one for each")
    return [checked_seed(one) for one in seed]


def key_data_of(seeds: Sequence[int]):
    """The data of the keys of seeds, uint32 [N, ...] of numpy, for `jax.random.wrap_key_data`."""
    import jax
    import numpy as np

    data = {seed: np.asarray(jax.random.key_data(key_of(seed))) for seed in set(seeds)}
    return np.stack([data[seed] for seed in seeds])
