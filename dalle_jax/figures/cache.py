"""A figure's own measurements in files, so that a second call measures only what is missing.

WORKDIR/measures/FIGURE-KEY.npz holds the rows of one point, or of all where a figure measures them
together: single numbers and texts as JSON, arrays and images as they are, and the cost, machine and
code of the measurement. The key is a hash of what they depend on.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.figures.figure import Measured
from dalle_jax.files import UNREADABLE_NPZ, write_atomically
from dalle_jax.sweeps.record import Used, ended_now, used_by_this_process

DOCUMENT = "told"  # the JSON's name among the arrays


class CachedMeasurement(NamedTuple):
    """What was measured, and when, where and by what code: see `record.ended_now`."""

    measured: Measured
    made: Mapping[str, Any]


def measure_and_save(
    path: Path, measure: Callable[[], Measured], origin: Mapping[str, Any]
) -> CachedMeasurement:
    """Measure, and save it in a file with its cost and the origin of this process.

    Raises:
        ValueError: a row holds what is neither an array of numbers nor plain data.
    """
    began, before = time.time(), used_by_this_process()
    measured = measure()
    now = used_by_this_process()
    used = Used(time.time() - began, now.core_seconds - before.core_seconds, now.peak_bytes)
    write(path, CachedMeasurement(measured, ended_now(used, origin)))
    return read(path)


def write(path: Path, measurement: CachedMeasurement) -> None:
    """Write a measurement whole or not at all; see `measure_and_save` for errors."""
    measured, arrays = measurement.measured, {}
    for i, row in enumerate(measured.rows):
        of_row = {name: cell for name, cell in row.items() if isinstance(cell, np.ndarray)}
        arrays |= {f"row/{i}/{name}": cell for name, cell in of_row.items()}
    arrays |= {f"image/{i}": image for i, image in enumerate(measured.images.values())}
    # None in the row keeps an array's position.
    rows = [
        {name: None if isinstance(cell, np.ndarray) else cell for name, cell in row.items()}
        for row in measured.rows
    ]
    document = {"rows": rows, "images": list(measured.images), "seed": measured.seed}
    try:
        text = json.dumps({**document, "made": dict(measurement.made)}, default=_plain)
        for name, array in arrays.items():
            if np.asarray(array).dtype.hasobject:
                raise TypeError(f"{name} is an array of objects, which are no numbers")
    except TypeError as error:
        raise ValueError(f"what a figure measured can't be stored in {path}: {error}") from error
    arrays[DOCUMENT] = np.frombuffer(text.encode(), np.uint8)
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def read(path: Path) -> CachedMeasurement | None:
    """What a file holds; None if there is none, or it can't be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        document = json.loads(arrays.pop(DOCUMENT).tobytes())
        for name, array in arrays.items():
            kind, i, *column = name.split("/", 2)
            if kind == "row":
                document["rows"][int(i)][column[0]] = array
        images = {name: arrays[f"image/{i}"] for i, name in enumerate(document["images"])}
        measured = Measured(document["rows"], images, document["seed"])
        return CachedMeasurement(measured, document["made"])
    except UNREADABLE_NPZ:
        return None


def _plain(value: Any) -> Any:
    """A single number of NumPy as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} in a row is neither plain data nor an array")
