"""Keeping a second training off a run that is being trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from dalle_jax.files import Lock, holder
from dalle_jax.training.distributed import as_first


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Hold the lock of a run's directory; of several processes that train together, the first does.

    The system gives it up when the process ends, however that ends. Where the file system has no
    locks there is a warning, and training goes on.

    Raises:
        ValueError: another training holds it; host and process are named.
    """
    path = directory / "lock"
    lock = Lock.take(path) if jax.process_index() == 0 else None
    if not as_first(lock is not None):
        raise ValueError(
            f"{directory} is being trained by {holder(path) or 'another process'}; wait for its "
            "end, stop it, or give another --workdir"
        )
    try:
        yield
    finally:
        if lock is not None:
            lock.release()
