"""How far a run is, read from its metrics.jsonl."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Progress:
    """The newest numbers of a run; None where there are none yet.

    Attributes:
        step: of the last line.
        loss: of training, mean over the last log interval.
        images_per_second: likewise.
    """

    step: int = 0
    loss: float | None = None
    images_per_second: float | None = None

    def seconds_left(self, steps: int, batch_size: int) -> float | None:
        """Until step `steps` at the present speed; without validation, previews and saving."""
        if not self.images_per_second:
            return None
        return max(steps - self.step, 0) * batch_size / self.images_per_second


def read_progress(run_dir: Path) -> Progress:
    """Where a run is; reads the end of its log alone."""
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


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of numbers; nothing where it is torn."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "step" in found else {}
