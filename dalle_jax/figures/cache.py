"""What a figure measured itself, kept, so that a second call measures only what is not there.

WORKDIR/measures/FIGURE-KEY.npz holds the rows of one point, or of all where a figure measures them
together: single numbers and texts as JSON, arrays and images as they are. With them stands what
measuring them took, where and by what code. The key is a hash of what they depend on.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.figures.figure import Measured
from dalle_jax.files import UNREADABLE_NPZ, write_atomically
from dalle_jax.sweeps.record import Used, ended_now, used_by_this_process

TOLD = "told"  # the JSON's name among the arrays


class KeptMeasure(NamedTuple):
    """What was measured, and when, where and by what code: see `record.ended_now`."""

    measured: Measured
    made: Mapping[str, Any]


def key_of(*parts: Any) -> str:
    """Twelve hexadecimal digits of what a measure depends on, given as plain data."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def measure_and_keep(
    path: Path, measure: Callable[[], Measured], origin: Mapping[str, Any]
) -> KeptMeasure:
    """Measure, and keep it in a file.

    Args:
        path: of the file.
        measure: called once, with nothing.
        origin: where and by what code this process computes, see `record.origin_now`.

    Raises:
        ValueError: a row holds what is neither an array of numbers nor plain data.
    """
    began, before = time.time(), used_by_this_process()
    measured = measure()
    now = used_by_this_process()
    used = Used(time.time() - began, now.core_seconds - before.core_seconds, now.peak_bytes)
    write(path, KeptMeasure(measured, ended_now(used, origin)))
    return read(path)


def write(path: Path, kept: KeptMeasure) -> None:
    """Write a measure whole or not at all; see `measure_and_keep`."""
    measured, arrays = kept.measured, {}
    for i, row in enumerate(measured.rows):
        of_row = {name: cell for name, cell in row.items() if isinstance(cell, np.ndarray)}
        arrays |= {f"row/{i}/{name}": cell for name, cell in of_row.items()}
    arrays |= {f"image/{i}": image for i, image in enumerate(measured.images.values())}
    # An array's place in its row is kept empty.
    rows = [
        {name: None if isinstance(cell, np.ndarray) else cell for name, cell in row.items()}
        for row in measured.rows
    ]
    told = {"rows": rows, "images": list(measured.images), "seed": measured.seed}
    try:
        text = json.dumps({**told, "made": dict(kept.made)}, default=_plain)
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise TypeError(f"{name} is an array of objects, which are no numbers")
    except TypeError as error:
        raise ValueError(f"what a figure measured can't be kept in {path}: {error}") from error
    arrays[TOLD] = np.frombuffer(text.encode(), np.uint8)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read(path: Path) -> KeptMeasure | None:
    """What was kept; None if nothing was, or it can't be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        told = json.loads(arrays.pop(TOLD).tobytes())
        for name, array in arrays.items():
            kind, i, *column = name.split("/", 2)
            if kind == "row":
                told["rows"][int(i)][column[0]] = array
        images = {name: arrays[f"image/{i}"] for i, name in enumerate(told["images"])}
        return KeptMeasure(Measured(told["rows"], images, told["seed"]), told["made"])
    except UNREADABLE_NPZ:
        return None


def _plain(value: Any) -> Any:
    """A single number of NumPy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} in a row is neither plain data nor an array")
