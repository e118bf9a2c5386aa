"""Means of the metrics and the speed of training between two log points."""

import math
import time
from collections.abc import Mapping
from contextlib import contextmanager


class Meter:
    """Means of the metrics and the speed since the last log point."""

    def __init__(self):
        """Time counts from the end of the first step, whose compilation would spoil the speed."""
        self._began: float | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._timed_steps = 0
        self._stalled = 0.0

    def add(self, values: Mapping[str, float]) -> None:
        """One more step is done."""
        for name, value in values.items():
            if not math.isnan(value):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        if self._began is None:
            self._began = time.perf_counter()
            self._stalled = 0.0
        else:
            self._timed_steps += 1

    def stalled(self, seconds: float) -> None:
        """The device waited for data, for at most `seconds`."""
        self._stalled += seconds

    @contextmanager
    def paused(self):
        """Time in here (validation, previews, saving) is not training time."""
        start = time.perf_counter()
        yield
        if self._began is not None:
            self._began += time.perf_counter() - start

    def close(self, batch_size: int) -> dict[str, float]:
        """The numbers of this window; the next one begins."""
        numbers = {name: self._sums[name] / self._counts[name] for name in self._sums}
        now = time.perf_counter()
        if self._timed_steps:
            seconds = now - self._began
            numbers["images_per_second"] = self._timed_steps * batch_size / seconds
            numbers["data_stall"] = min(self._stalled / seconds, 1.0)
        self._began = now
        self._start_over()
        return numbers
