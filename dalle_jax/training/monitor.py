"""What a training writes down and shows while it runs: log, progress bar, speed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import jax
import numpy as np

from dalle_jax.training.logging import RunLog
from dalle_jax.training.meter import Meter
from dalle_jax.training.progress import ProgressBar
from dalle_jax.training.training import Training


class Monitor:
    """The log, the bar and the meter of a training; of several processes the first writes."""

    def __init__(self, training: Training, step: int, pending: Sequence[str] = ()):
        """`step` is the one that training continues from, `pending` its events still to come."""
        first, self._settings = jax.process_index() == 0, training.settings
        self._log = RunLog(training.run_dir, from_step=step, again=pending, write=first)
        self._bar = ProgressBar(
            self._settings.steps,
            start=step,
            title=training.title,
            show=first and not training.quiet,
        )
        self._meter = Meter()

    def step_done(self, step: int, values: Mapping[str, float], images: int) -> None:
        """Count a step's metrics; at a log point, log and show the means since the one before.

        `images` are those of one step, over all processes.
        """
        self._meter.add(values)
        self._bar.advance(step)
        if step % self._settings.log_every == 0 or step == self._settings.steps:
            means = self._meter.close(images)
            self._log.scalars(step, means)
            self._bar.numbers(step, means)

    def stalled(self, seconds: float) -> None:
        """The device waited for data, for at most so long."""
        self._meter.stalled(seconds)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here is no training time."""
        with self._meter.paused():
            yield

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Log values under the names KIND/NAME."""
        self._log.scalars(step, {f"{kind}/{name}": value for name, value in values.items()})

    def image(self, step: int, kind: str, image: np.ndarray) -> None:
        """Log an image uint8 [H, W, 3]."""
        self._log.image(step, kind, image)

    def message(self, text: str) -> None:
        """Show a line."""
        self._bar.message(text)

    def close(self) -> None:
        """Write what is buffered, and give the terminal back."""
        self._bar.close()
        self._log.close()
