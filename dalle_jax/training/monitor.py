"""What a training writes down and shows while it runs: log, progress bar, speed."""

from collections.abc import Mapping, Sequence

import jax

from dalle_jax.training.logging import RunLog
from dalle_jax.training.meter import Meter
from dalle_jax.training.progress import ProgressBar
from dalle_jax.training.training import Training


class Monitor:
    """The log, the bar and the meter of a training; of several processes only the first writes."""

    def __init__(self, training: Training, step: int, pending: Sequence[str] = ()):
        """`step` is the one that training continues from, `pending` its events still to come."""
        first, self._settings = jax.process_index() == 0, training.settings
        self.log = RunLog(training.run_dir, from_step=step, again=pending, write=first)
        self.bar = ProgressBar(
            self._settings.steps,
            start=step,
            title=training.title,
            show=first and not training.quiet,
        )
        self.meter = Meter()

    def step_done(self, step: int, values: Mapping[str, float], images: int) -> None:
        """Count a step's metrics; at a log point, log and show the means since the last one.

        `images` are those of one step, over all processes.
        """
        self.meter.add(values)
        self.bar.advance(step)
        if step % self._settings.log_every == 0 or step == self._settings.steps:
            means = self.meter.close(images)
            self.log.scalars(step, means)
            self.bar.numbers(step, means)

    def scalars(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Log values under the names KIND/NAME."""
        self.log.scalars(step, {f"{kind}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Write what is buffered, and give the terminal back."""
        self.bar.close()
        self.log.close()
