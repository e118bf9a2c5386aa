"""Batches made ahead of use in threads; waiting for one ends in an error that names the cause."""

import atexit
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

# Of all threads that make batches, and of those who read them.
_workers: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()
_open: "weakref.WeakSet[Prefetch]" = weakref.WeakSet()
EXIT_PATIENCE = 5.0  # seconds that a program's exit waits for batches that are being made


class Stalled(OSError):
    """No batch came in time: a worker hangs, most likely in a disk or a network."""


class Prefetch:
    """An iterator over make(0), make(1), … make(count − 1), made ahead in `num_threads` threads.

    `next` raises what `make` raises. Unlike the threads of a pool, these keep no process alive.

    Args:
        make: k -> batch k; called in any thread.
        count: number of batches.
        num_threads: 0 makes each batch on demand, but still in a thread.
        patience: seconds that `next` waits before it raises `Stalled`.
        doing: k -> what make(k) is doing, for that error.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        count: int,
        *,
        num_threads: int,
        patience: float,
        doing: Callable[[int], str],
    ):
        self._count, self._patience, self._doing = count, patience, doing
        self._buffer_size = 2 * num_threads
        self._next = 0
        self._futures: deque[Future] = deque()  # of the batches `next`, `next` + 1, …
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        num_threads = max(1, num_threads)
        for _ in range(num_threads):
            # They hold the queue and not `self`, and so end when nobody holds `self`.
            worker = threading.Thread(target=_work, args=(self._tasks, make), daemon=True)
            worker.start()
            _workers.add(worker)
        self._end = weakref.finalize(self, _dismiss, self._tasks, self._futures, num_threads)
        _open.add(self)

    def __iter__(self) -> "Prefetch":
        return self

    def __next__(self) -> Any:
        if self._next == self._count:
            raise StopIteration
        self._ask_for(max(1, self._buffer_size))
        done, _ = wait([self._futures[0]], self._patience)
        if not done:
            raise Stalled(
                f"no batch came in {self._patience:g} s: batch {self._next} hangs at "
                f"{self._doing(self._next)}; see whether its disk or network answers"
            )
        batch = self._futures[0].result()
        self._futures.popleft()
        self._next += 1
        self._ask_for(self._buffer_size)
        return batch

    def get_state(self) -> dict[str, int]:
        """The number of the next batch, in the form of Grain's iterators."""
        return {"next_index": self._next}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continue at the batch that `get_state` gave."""
        _cancel(self._futures)
        self._next = state["next_index"]

    def _ask_for(self, ahead: int) -> None:
        """Request the next `ahead` batches, as far as they are not made yet."""
        for k in range(self._next + len(self._futures), min(self._next + ahead, self._count)):
            self._futures.append(Future())
            self._tasks.put((k, self._futures[-1]))


def _work(tasks: queue.SimpleQueue, make: Callable[[int], Any]) -> None:
    """Make the requested batches until None is requested."""
    while (task := tasks.get()) is not None:
        k, future = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(make(k))
            except BaseException as error:
                future.set_exception(error)
        del task, future  # while it waits it keeps no batch alive


@atexit.register
def _end_workers() -> None:
    """Let the batches that are being made be finished, and make no more.

    Python's exit would end a thread wherever it is; in Grain's compiled code that aborts the
    program.
    """
    for prefetch in list(_open):
        prefetch._end()
    end = time.monotonic() + EXIT_PATIENCE
    for worker in list(_workers):
        worker.join(max(0.0, end - time.monotonic()))


def _dismiss(tasks: queue.SimpleQueue, futures: deque[Future], num_threads: int) -> None:
    _cancel(futures)
    for _ in range(num_threads):
        tasks.put(None)


def _cancel(futures: deque[Future]) -> None:
    for future in futures:
        future.cancel()
    futures.clear()
