"""How far the images of a running evaluation are, read from its log and from what is there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dalle_jax.sweeps.local import BEGUN

WANTED = re.compile(rb"drawing (\d+) images")  # as `dalle-jax evaluate` says before it draws
HEAD_BYTES = 16_384


class Drawing(NamedTuple):
    """Images of an evaluation that runs.

    Attributes:
        drawn: by this attempt so far.
        wanted: that it set out to draw.
        seconds_left: until the last is drawn, at the speed up to now; None before the first, and
            after the last, when they are measured.
    """

    drawn: int
    wanted: int
    seconds_left: float | None


def read_drawing(job: Path, system: Path) -> Drawing | None:
    """Where an evaluation is; None where it does not run, or has not begun to draw.

    Args:
        job: the directory of its attempts.
        system: the workdir that it draws in.
    """
    try:
        began = (job / BEGUN).stat().st_mtime
        log = max(job.glob("attempt_*.log"), key=lambda path: path.stat().st_mtime)
        with open(log, "rb") as file:
            told = WANTED.search(file.read(HEAD_BYTES))
    except (FileNotFoundError, ValueError):  # it ended just now, or has no log yet
        return None
    if told is None:
        return None
    wanted = int(told.group(1))
    shards = sorted((when, images) for when, images in _shards(system) if when >= began)
    drawn = min(sum(images for _, images in shards), wanted)
    if not shards or drawn == wanted:
        return Drawing(drawn, wanted, None)
    # The first took its start as well, and is left out where there are others.
    (first, images), newest = shards[0], shards[-1][0]
    speed = (drawn - images) / (newest - first) if newest > first else drawn / (newest - began)
    return Drawing(drawn, wanted, (wanted - drawn) / speed if speed > 0 else None)


def _shards(system: Path) -> Iterator[tuple[float, int]]:
    """When each of an evaluation's shards was written, and its number of images."""
    for path in system.glob("generated/*/made_of.json"):
        try:
            made_of = json.loads(path.read_bytes())
            size, last = made_of["shard_size"], len(made_of["captions"])
            for shard in path.parent.glob("shard_*.npz"):
                start = int(shard.stem.removeprefix("shard_"))
                yield shard.stat().st_mtime, min(size, last - start)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another program's folder, or one that is just being written
