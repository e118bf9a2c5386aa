"""Signals to stop: finish the step, save, and say how to continue."""

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

# Steps of this process, whatever stage they are of. The service counts from 0, and where nobody has
# asked it yet it has all stop at 1, which no run that goes on from a checkpoint would come to.
_asked = itertools.count(1)


class Stop(BaseException):
    """A signal came while something was waited for; see `StopSignals.breaking`.

    `unfinished` is what a device is still at work on, to be waited for before Python ends: else
    that ends in a segmentation fault.
    """

    unfinished: jax.Array | None = None


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
    """Notes SIGTERM and SIGINT instead of dying; a second one ends the process at once.

    All processes must stop at the same step, so where there are several jax's preemption service
    handles SIGTERM and chooses it.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        """Listen on entry; `received` is the number of the signal that came, or None."""
        self.received: int | None = None
        self._breaking = False
        self._several = jax.process_count() > 1

    def __enter__(self):
        self._before = {}
        on_main_thread = threading.current_thread() is threading.main_thread()
        if on_main_thread and not self._several:  # Python hears signals only there
            self._before = {s: signal.signal(s, self._note) for s in self.SIGNALS}
        return self

    def after_step(self) -> int | None:
        """The signal that training is to stop for now; all processes have to ask equally often."""
        if self._several and multihost_utils.reached_preemption_sync_point(next(_asked)):
            self.received = signal.SIGTERM
        return self.received

    def between(self, items: Iterable) -> Iterator:
        """The items; raises `Stop` instead of one before which a signal came."""
        for item in items:
            if self.after_step() is not None:
                raise Stop
            yield item

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Inside, a signal raises `Stop`: for what may last longer than there is time."""
        self._breaking = True
        try:
            if self.received is not None:
                raise Stop
            yield
        finally:
            self._breaking = False

    def computed(self, start: Callable[[], jax.Array]) -> jax.Array:
        """`start()`, when a device has computed it; unlike in jax's wait a signal is heard.

        To be called inside `breaking`. Only in `start`, which may compile, no signal breaks off:
        of what that has set to work nobody would know.
        """
        self._breaking = False
        array = start()
        try:
            self._breaking = True
            if self.received is not None:
                raise Stop
            while not array.is_ready():
                time.sleep(0.01)
        except Stop as stop:
            stop.unfinished = array
            raise
        return array

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
