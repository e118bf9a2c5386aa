"""The local backend: workers of one machine run jobs, each one process at a time.

Any number of launchers may work at the same jobs: a job belongs to the process that holds its lock,
and whether it is done is looked up before each start.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from dalle_jax.files import Lock, holder
from dalle_jax.sweeps.jobs import Job
from dalle_jax.sweeps.machine import machine_of
from dalle_jax.sweeps.process import Process, last_line
from dalle_jax.sweeps.workers import Worker

POLL_SECONDS = 0.5
INTERRUPTED = (130, 143)  # exit codes of a process that saved at SIGINT or SIGTERM


class State(Enum):
    """The state of a job, by the word that people read."""

    DONE = "done"
    WAITING = "waiting"  # for the jobs that it needs
    READY = "ready"
    RUNNING = "running"
    ELSEWHERE = "elsewhere"  # a process of another launcher works at it
    FAILED = "failed"
    BLOCKED = "blocked"  # a job that it needs has failed
    NOT_STARTED = "not started"


PENDING = (State.WAITING, State.READY, State.ELSEWHERE)


@dataclass
class Status:
    """The state of a job, and what there is to say about it.

    Attributes:
        failures: attempts in a row that came no further.
        note: why it failed, is blocked or is not started; the process that works at it elsewhere.
    """

    state: State = State.WAITING
    failures: int = 0
    note: str = ""


class Launcher:
    """Runs the jobs of a sweep until all are done, have failed, or can't be started.

    Args:
        jobs: in the order in which they are started.
        workers: that run them.
        retries: attempts after the first, for a job that came no further in it.
        max_seconds: after which no more jobs are started.
        on_change: called with a job and its status whenever its state changes.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: Sequence[Worker],
        *,
        retries: int = 1,
        max_seconds: float = float("inf"),
        on_change: Callable[[Job, Status], None] = lambda job, status: None,
    ):
        self.jobs = {job.key: job for job in jobs}
        self.status = {job.key: Status() for job in jobs}
        self.processes: list[Process] = []
        self._num_workers, self._free = len(workers), list(workers)
        self._retries, self._on_change = retries, on_change
        self._until = time.time() + max_seconds
        self._stops = 0

    def stop(self) -> None:
        """Let the running jobs save and end, and start no more; for a signal handler.

        A second call reaches them as a second signal, at which a training ends unsaved.
        """
        self._stops += 1

    def run(self, tick: Callable[[], None] = lambda: None) -> bool:
        """Run the jobs; `tick` is called at each round. Returns whether every job is done."""
        try:
            while True:
                self._look_at_processes()
                for process in self.processes:
                    process.stop(self._stops)
                if self._stops or time.time() >= self._until:
                    self._leave_rest("stopped" if self._stops else "--max-hours are over")
                else:
                    self._start_ready()
                tick()
                if not self.processes and not self._in(*PENDING):
                    return len(self._in(State.DONE)) == len(self.jobs)
                time.sleep(POLL_SECONDS)
        finally:
            # After an error of this process: the jobs save and end, as after a signal.
            for process in self.processes:
                process.terminate()

    def _in(self, *states: State) -> list[Job]:
        """The jobs in some states."""
        return [job for key, job in self.jobs.items() if self.status[key].state in states]

    def _set(self, job: Job, state: State, note: str = "") -> None:
        status = self.status[job.key]
        if (status.state, status.note) != (state, note):
            status.state, status.note = state, note
            self._on_change(job, status)

    def _look_at_processes(self) -> None:
        """Find out which processes have ended, and at which job the others are."""
        for process in list(self.processes):
            if process.has_ended():
                self.processes.remove(process)
                self._free.append(process.worker)
                self._end(process)
            elif process.jobs[0].batch and (job := self._current(process)) is not None:
                self._set(job, State.RUNNING)

    def _current(self, process: Process) -> Job | None:
        """The job that a process is at, or was at when it ended; those before it are done."""
        for job in process.jobs:
            if self.status[job.key].state is State.DONE:
                continue
            if job.is_done():
                self._set(job, State.DONE)
            elif process.holds(job):
                return job
        return None

    def _end(self, process: Process) -> None:
        """Record how a process has ended, and set the state of its last job."""
        first, job = process.jobs[0], self._current(process)
        # The jobs of a batch record their success themselves.
        ended = job or (None if first.batch else first)
        log = process.record_end(ended) if ended is not None else None
        process.lock.release()
        if job is None:
            return
        code, status = process.popen.returncode, self.status[job.key]
        if self._stops and (code in INTERRUPTED or code < 0):
            self._set(job, State.NOT_STARTED, "stopped; the same command goes on")
            return
        status.failures = 0 if job.step() > process.step else status.failures + 1
        reason = last_line(log) or "its log is empty"
        if status.failures > self._retries:
            self._set(job, State.FAILED, f"{reason} (exit code {code}; {log})")
        else:
            self._set(job, State.READY, f"tried again after exit code {code}: {reason}")

    def _leave_rest(self, note: str) -> None:
        for job in self._in(*PENDING):
            self._set(job, *((State.DONE,) if job.is_done() else (State.NOT_STARTED, note)))

    def _start_ready(self) -> None:
        for job in self._in(*PENDING):
            needed = {key: self.status[key].state for key in job.needs if key in self.status}
            failed = [k for k, state in needed.items() if state in (State.FAILED, State.BLOCKED)]
            if job.is_done():
                self._set(job, State.DONE)
            elif failed:
                self._set(job, State.BLOCKED, f"needs {failed[0]}, which failed")
            elif any(state is not State.DONE for state in needed.values()):
                self._set(job, State.WAITING)
            elif self._free:
                self._try_start(job)
            elif self.status[job.key].state is State.WAITING:
                self._set(job, State.READY)

    def _try_start(self, job: Job) -> None:
        lock = Lock.take(job.lock)
        if lock is None:
            if not any(process.holds(job) for process in self.processes):
                self._set(job, State.ELSEWHERE, holder(job.lock))
        elif job.is_done():  # by the process that held the lock a moment ago
            lock.release()
            self._set(job, State.DONE)
        else:
            jobs, worker = [job], self._free.pop(0)
            if job.batch:
                others = (other for other in self._in(*PENDING) if other is not job)
                jobs += [other for other in others if other.batch == job.batch]
            machine = machine_of(worker, self._num_workers)
            self.processes.append(Process.start(jobs, worker, lock, machine, self._until))
            self._set(job, State.RUNNING)
