"""The local backend: workers of one machine, each a process at a time on its cores and GPUs.

Any number of launchers may work at the same jobs: a job belongs to the process that holds its lock,
and whether it is done is looked up before each start.
"""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

from dalle_jax.files import Lock, holder, process_name
from dalle_jax.sweeps.jobs import Job
from dalle_jax.sweeps.machine import machine_of
from dalle_jax.sweeps.points import write_points
from dalle_jax.sweeps.record import begin_attempt, end_attempt, origin_now, read_attempts, used_by
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


@dataclass
class Process:
    """A process that does one job, or the jobs of a batch in turn.

    Attributes:
        jobs: in order.
        worker: whose cores and GPUs it has.
        popen: the system's handle.
        lock: of the first job, shared with the process.
        step: how far the first job had come when it started.
        stops: how many signals to stop it was sent.
    """

    jobs: Sequence[Job]
    worker: Worker
    popen: subprocess.Popen
    lock: Lock
    step: int
    stops: int = 0

    @property
    def name(self) -> str:
        """As locks name it."""
        return process_name(self.popen.pid)

    def stop(self, times: int) -> None:
        """Make sure that it was sent so many signals to stop.

        Where Slurm tracks processes by cgroups, it signals all processes of a task itself. So a job
        that saves is signalled there only while it expects that, and only once.
        """
        if self.jobs[0].saves and "SLURM_JOB_ID" in os.environ:
            times = min(times, 1) if catches(self.popen.pid, signal.SIGTERM) else 0
        while self.stops < times:
            self.stops += 1
            self.terminate()

    def terminate(self) -> None:
        """Send SIGTERM to it unless it was waited for; Popen's own method might wait for it."""
        if self.popen.returncode is None:
            os.kill(self.popen.pid, signal.SIGTERM)


class Launcher:
    """Runs the jobs of a sweep until all are done, have failed, or can't be started.

    Args:
        jobs: in the order in which they are started.
        workers: that run them.
        retries: attempts after the first, for a job that came no further in it.
        max_seconds: after which no job is started any more.
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
            pid, status, usage = os.wait4(process.popen.pid, os.WNOHANG)
            if pid:
                process.popen.returncode = os.waitstatus_to_exitcode(status)
                self.processes.remove(process)
                self._free.append(process.worker)
                self._end(process, usage)
            elif process.jobs[0].batch and (job := self._current(process)) is not None:
                self._set(job, State.RUNNING)

    def _current(self, process: Process) -> Job | None:
        """The job that a process is at, or was at when it ended; those before it are done."""
        for job in process.jobs:
            if self.status[job.key].state is State.DONE:
                continue
            if job.is_done():
                self._set(job, State.DONE)
            elif holder(job.lock) == process.name:
                return job
        return None

    def _end(self, process: Process, usage: resource.struct_rusage) -> None:
        """Record how a process has ended: the jobs of a batch themselves record their success."""
        first, code = process.jobs[0], process.popen.returncode
        job = self._current(process)
        if (ended := job or (None if first.batch else first)) is not None:
            attempt = read_attempts(ended.directory)[-1]
            log = ended.directory / attempt["log"]
            used = used_by(
                usage, time.time() - datetime.fromisoformat(attempt["began"]).timestamp()
            )
            before = (j for j in process.jobs if j is not ended and holder(j.lock) == process.name)
            recorded = sum(read_attempts(j.directory)[-1]["core_seconds"] for j in before)
            end_attempt(log, code, used._replace(core_seconds=used.core_seconds - recorded))
        process.lock.release()
        if job is not None:
            self._judge(job, code, log, came_further=job.step() > process.step)

    def _judge(self, job: Job, code: int, log: Path, *, came_further: bool) -> None:
        """Set the state of a job that is not done although its process has ended."""
        if self._stops and (code in INTERRUPTED or code < 0):
            self._set(job, State.NOT_STARTED, "stopped; the same command goes on")
            return
        status = self.status[job.key]
        status.failures = 0 if came_further else status.failures + 1
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
            name = holder(job.lock)
            if name not in [process.name for process in self.processes]:
                self._set(job, State.ELSEWHERE, name)
        elif job.is_done():  # by the process that held the lock a moment ago
            lock.release()
            self._set(job, State.DONE)
        else:
            self._start(job, lock)

    def _start(self, job: Job, lock: Lock) -> None:
        """Start a process for a job, whose lock is taken, and for others of its batch."""
        worker = self._free.pop(0)
        origin = origin_now(machine_of(worker, self._num_workers))
        log = begin_attempt(job.directory, origin)
        request, jobs = log.with_suffix(".json"), [job]
        if job.batch:
            others = (other for other in self._in(*PENDING) if other is not job)
            jobs += [other for other in others if other.batch == job.batch]
            write_points(request, [one.request for one in jobs], origin, self._until)
        else:
            request.write_text(json.dumps(job.request, indent=1))
        # The process shares the lock with this one, and keeps it if this one dies.
        with open(log, "wb") as file, _on_cores(worker.cores):
            popen = subprocess.Popen(
                job.command(request),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=(lock.fileno(),),
                env={**os.environ, **worker.environment},
                start_new_session=True,  # Ctrl-C is passed on once, by `stop`
            )
        lock.name_holder(popen.pid)
        self.processes.append(Process(jobs, worker, popen, lock, job.step()))
        self._set(job, State.RUNNING)


@contextmanager
def _on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes started in this block run on these cores."""
    before = os.sched_getaffinity(0)  # of this thread, which children inherit
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def last_line(log: Path) -> str:
    """The last line of a log that is not blank."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
