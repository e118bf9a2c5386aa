"""Points that one process measures in turn, since they share runs that are slow to load.

The launcher of a sweep writes their file and starts `dalle-jax evaluate --points=FILE`. Several
processes may have a point in their files: the one that holds the lock of its job measures it. A
process that dies leaves the points that it has not come to for the next one.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.files import Lock
from dalle_jax.sweeps.progress import ImageProgress
from dalle_jax.sweeps.record import Used, begin_attempt, end_attempt, used_by_this_process

Measure = Callable[[Mapping[str, Any], Callable[[int, int], None]], None]


def write_points(
    path: Path, points: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], until: float
) -> None:
    """Write the file of a process; the launcher has begun the first point and holds its lock.

    Args:
        path: of the file.
        points: each with the directory of its job as "job".
        origin: of the process, see `record.origin_now`.
        until: seconds since the epoch after which no further point is begun.
    """
    document = {"began": time.time(), "until": until, "origin": origin, "points": points}
    path.write_text(json.dumps(document, indent=1))


def measure_points(path: Path, measure: Measure) -> None:
    """Measure the points of a file in turn, leaving out what is done or another process works at.

    Args:
        path: of the file.
        measure: called with a point, and with a function that it may call with the numbers of
            images sampled and wanted. What it raises ends this function.
    """
    document = json.loads(path.read_text())
    used = Used(0.0, 0.0, 0)  # up to the end of the point before
    for number, point in enumerate(document["points"]):
        job, lock = Path(point["job"]), None
        began, log = document["began"], path.with_suffix(".log")  # of the first point
        if number > 0:
            if time.time() >= document["until"]:
                return
            lock = Lock.take(job / "lock")
            if lock is None or (job / "done").exists():
                continue
            began, log = time.time(), begin_attempt(job, document["origin"])
            _redirect_output(log)
        measure(point, ImageProgress(job))
        sys.stdout.flush()
        now = used_by_this_process()._replace(seconds=time.time() - began)
        core_seconds, used = now.core_seconds - used.core_seconds, now
        end_attempt(log, 0, now._replace(core_seconds=core_seconds))
        (job / "done").touch()
        if lock is not None:
            lock.release()


def _redirect_output(log: Path) -> None:
    """Let all that this process writes from now on go to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
