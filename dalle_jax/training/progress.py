"""What a person sees while a run trains: a bar on a terminal, plain lines elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ESTIMATED = 20  # steps after which the time of all is said


class ProgressBar:
    """Loss, images/s, data-stall %, time left."""

    def __init__(self, total: int, *, start: int = 0, title: str = "train", show: bool = True):
        """`start` is the step that training goes on from; with `show` False nothing is seen."""
        self._console = Console(file=sys.stderr, quiet=not show)
        self._total, self._title = total, title
        self._first: tuple[int, float] | None = None  # step that is done, and when
        self._bar = None
        if show and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self._console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(title, total=total, completed=start, numbers="")
            self._bar.start()

    def advance(self, step: int) -> None:
        """`step` updates are done; the first ones' time, which is compilation, does not count."""
        if self._first is None:
            self._first = step, time.monotonic()
        elif step == self._first[0] + ESTIMATED and step < self._total:
            minutes = self._seconds_left(step) / 60
            text = f"about {minutes:.0f} minutes" if minutes > 1 else "less than a minute"
            self.message(f"{self._title}: {text} to step {self._total:,} on this machine")
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Show the numbers of a log point."""
        text = f"loss {values['loss']:.4f}"
        if "images_per_second" in values:
            text += f" · {values['images_per_second']:.1f} images/s"
            text += f" · data stall {100 * values['data_stall']:.1f} %"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=text)
            return
        text = f"{self._title} {step}/{self._total} · {text}"
        if self._first is not None and step > self._first[0]:
            left = int(self._seconds_left(step))
            text += f" · {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        self.message(text)

    def _seconds_left(self, step: int) -> float:
        """Seconds to the last step, at the speed of the steps since the first one."""
        start, began = self._first
        return (time.monotonic() - began) / (step - start) * (self._total - step)

    def message(self, text: str) -> None:
        """A line above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
