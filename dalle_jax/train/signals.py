"""Being told to stop: note it, finish the step, save, and say how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop(BaseException):
    """A signal came while something was waited for; see `StopSignals.breaking`."""


class Interrupted(Exception):
    """A signal ended training after a checkpoint was saved; `exit_code` is 128 + the signal."""

    def __init__(self, step: int, signum: int):
        """`step` is the step of the checkpoint."""
        name = signal.Signals(signum).name
        super().__init__(
            f"stopped by {name} at step {step}, checkpoint saved; "
            f"the same command continues from step {step}"
        )
        self.step, self.exit_code = step, 128 + signum


class StopSignals:
    """Notes SIGTERM and SIGINT instead of dying; a second one ends the process at once."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        """Listen on entry; `received` is the number of the signal that came, or None."""
        self.received: int | None = None
        self._breaking = False

    def __enter__(self):
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python hears signals only there
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Inside, a signal raises `Stop`: for a wait that may last longer than there is time."""
        self._breaking = True
        try:
            if self.received is not None:
                raise Stop
            yield
        finally:
            self._breaking = False

    def _note(self, signum, frame):
        self.received = signum
        self._restore()
        if self._breaking:
            raise Stop

    def _restore(self):
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def __exit__(self, *exception):
        self._restore()
