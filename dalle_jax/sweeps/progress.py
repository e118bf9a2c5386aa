"""The progress of a training or an evaluation, from the files that they write."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

TAIL_BYTES = 16_384
IMAGES_FILE = "progress.json"  # of an evaluation's job


@dataclass(frozen=True)
class Progress:
    """The newest logged numbers of a run: means over the last log interval, None before it."""

    step: int = 0
    loss: float | None = None
    images_per_second: float | None = None

    def seconds_left(self, steps: int, batch_size: int) -> float | None:
        """Until step `steps` at the present speed; without validation, previews and saving."""
        if not self.images_per_second:
            return None
        return max(steps - self.step, 0) * batch_size / self.images_per_second


def read_progress(run_dir: Path) -> Progress:
    """The newest numbers of a run; reads only the end of its log."""
    path = run_dir / "metrics.jsonl"
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return Progress()
    newest: dict[str, Any] = {}
    for line in map(_parsed, lines):
        newest |= line
    return Progress(newest.get("step", 0), newest.get("loss"), newest.get("images_per_second"))


def read_curves(run_dir: Path) -> dict[str, tuple[list[int], list[float]]]:
    """All that a run logged: (steps, values) by name."""
    path = run_dir / "metrics.jsonl"
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for line in map(_parsed, path.read_bytes().splitlines() if path.exists() else ()):
        step = line.pop("step", None)
        for name, value in line.items():
            steps, values = curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
    return curves


class Images(NamedTuple):
    """Images of an evaluation.

    Attributes:
        drawn: sampled by this attempt so far.
        wanted: that it has to sample.
        seconds_left: until the last is sampled; None before the first and after the last, when
            they are measured.
    """

    drawn: int
    wanted: int
    seconds_left: float | None


class ImageProgress:
    """Writes the number of images of an evaluation to its job's progress.json, at each call."""

    def __init__(self, job: Path, now: Callable[[], float] = time.monotonic):
        self._path, self._now = job / IMAGES_FILE, now
        self._path.unlink(missing_ok=True)  # an earlier attempt's
        self._began = self._first = (now(), 0)  # a moment, and the images sampled by then

    def __call__(self, drawn: int, wanted: int) -> None:
        """Write how many of the images are sampled."""
        # The first images took the start as well, which is left out where there are others.
        since, before = self._first
        if self._first == self._began and drawn:
            self._first = (self._now(), drawn)
        seconds, images = self._now() - since, drawn - before
        left = (wanted - drawn) * seconds / images if images > 0 and drawn < wanted else None
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(Images(drawn, wanted, left)._asdict()))
        os.replace(partial, self._path)


def read_images(job: Path) -> Images | None:
    """The images of the evaluation that works at a job; None before it samples."""
    try:
        return Images(**json.loads((job / IMAGES_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):  # the attempt begins or ends at this moment
        return None


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of numbers; nothing where it is torn."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "step" in found else {}
