"""Where a run's numbers and pictures go: metrics.jsonl and TensorBoard."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dalle_jax.files import write_atomically
from dalle_jax.training.event_file import EventFile

LOSS = "validation/loss"


class RunLog:
    """Writes one line per log point to `metrics.jsonl`, and the same to TensorBoard."""

    def __init__(
        self,
        run_dir: str | Path,
        *,
        from_step: int = 0,
        again: Sequence[str] = (),
        write: bool = True,
    ):
        """Open the logs of a run; lines beyond `from_step` are dropped, as they come again.

        So are those of that step with values of KIND/…, for the kinds in `again`.
        Of several processes one writes; to the others `write` is False.
        """
        self._write = write
        if not write:
            return
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        path = self.run_dir / "metrics.jsonl"
        _drop_after(path, from_step, again)
        self._file = path.open("a", encoding="utf-8")
        self._board = EventFile(self.run_dir / "tensorboard", purge_step=from_step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One line of metrics.jsonl: {"step": step, name: value, …}, without what is not finite."""
        if not self._write:
            return
        finite = {name: float(v) for name, v in values.items() if math.isfinite(v)}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()
        for name, value in finite.items():
            self._board.scalar(step, name, value)

    def image(self, step: int, name: str, image: np.ndarray) -> Path | None:
        """Save uint8 [H, W, 3] as samples/NAME_STEP.png; where that is, if this process writes."""
        if not self._write:
            return None
        path = self.run_dir / "samples" / f"{name}_{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
        self._board.image(step, name, image)
        return path

    def close(self) -> None:
        """Write what is buffered."""
        if not self._write:
            return
        self._file.close()
        self._board.close()


def validation_losses(run_dir: str | Path) -> dict[int, float]:
    """The validation loss of each step that `metrics.jsonl` has one of."""
    logged = (values for _, values in _lines(Path(run_dir) / "metrics.jsonl"))
    return {values["step"]: values[LOSS] for values in logged if LOSS in values}


def _drop_after(path: Path, step: int, again: Sequence[str]) -> None:
    """Keep the whole lines of `path` up to `step`; a line torn by a kill goes too."""
    if not path.exists():
        return
    repeated = tuple(f"{kind}/" for kind in again)
    lines = [
        line
        for line, values in _lines(path)
        if values["step"] < step
        or (values["step"] == step and not any(name.startswith(repeated) for name in values))
    ]
    write_atomically(path, lambda file: file.write("".join(lines).encode()))


def _lines(path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """The whole lines of a log as text and as values; what is torn is left out."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if line.endswith("\n") and isinstance(values, dict) and isinstance(values.get("step"), int):
            yield line, values
