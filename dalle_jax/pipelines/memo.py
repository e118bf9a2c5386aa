"""What networks made of the captions they were given last: other samplings of them begin there."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

MAX_BYTES = 2**28
LEAST = 2**14  # bytes that an entry counts as at least, since it is more than its arrays


class Memo:
    """Results by what they were made of, those longest unused forgotten beyond `max_bytes`."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self._kept: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._max_bytes, self._bytes = max_bytes, 0

    def __call__(self, what: str, of: Sequence[np.ndarray], make: Callable[[], Any]) -> Any:
        """`make()`, or what it gave when it was last asked for under this name and inputs.

        what: names the network and its settings; `of` are the arrays that it is given.
        """
        digest = hashlib.sha256(what.encode())
        for array in of:
            array = np.ascontiguousarray(array)
            digest.update(f"|{array.dtype}{array.shape}".encode())
            digest.update(array)
        key = digest.hexdigest()
        if key not in self._kept:
            made = make()
            size = max(LEAST, sum(leaf.nbytes for leaf in jax.tree.leaves(made)))
            self._kept[key] = made, size
            self._bytes += size
        self._kept.move_to_end(key)
        made = self._kept[key][0]
        while self._bytes > self._max_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return made
