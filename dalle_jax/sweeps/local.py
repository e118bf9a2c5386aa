"""The local backend: workers of one machine, each a process at a time on cores and GPUs of its own.

Any number of launchers may walk the same graph: a job is run by the one that holds its lock, and
what is done is looked for anew before each start.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dalle_jax.files import Lock, holder
from dalle_jax.sweeps.job import Job, read_attempts
from dalle_jax.sweeps.kept import Ended, Kept, poll
from dalle_jax.sweeps.machine import machine_of
from dalle_jax.sweeps.record import Used, origin_now, record_attempt
from dalle_jax.sweeps.workers import Worker

POLL_SECONDS = 0.5
INTERRUPTED = (130, 143)  # saved and stopped by SIGINT or SIGTERM
BEGUN = "begun"  # in a job's directory while it runs: log and origin; stays where a launcher died

# States of a job, as they are shown.
DONE, WAITING, READY, RUNNING, ELSEWHERE, FAILED, BLOCKED, NOT_STARTED = (
    *("done", "waiting", "ready", "running", "elsewhere", "failed", "blocked", "not started"),
)


@dataclass
class Status:
    """How a job stands.

    Attributes:
        failures: attempts in a row that came no further.
        note: why, where it failed or is blocked; who has it, where it runs elsewhere.
        started: when its attempt began, where it runs here.
    """

    state: str = WAITING
    failures: int = 0
    note: str = ""
    started: float | None = None


@dataclass
class _Slot:
    """A worker, and the process that it has kept from its last job, with that one's origin."""

    worker: Worker
    kept: Kept | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Keep none."""
        if self.kept is not None:
            self.kept.close()
        self.kept = None


@dataclass
class _Running:
    """A job's process; `slot.kept`'s where the job has a server."""

    job: Job
    slot: _Slot
    process: subprocess.Popen
    lock: Lock
    log: Path
    step: int
    origin: Mapping[str, Any]
    began: float = field(default_factory=time.time)
    times_told: int = 0  # to stop

    def poll(self) -> Ended | None:
        """How it has ended; None while it runs."""
        return self.slot.kept.poll() if self.job.server else poll(self.process)

    def tell(self, times: int) -> None:
        """Let it have been told `times` times to stop.

        Where Slurm tracks processes by cgroups, it signals every one of a task by itself. So a job
        that saves is signalled in it only as long as it expects that, and only once.
        """
        if self.job.saves and "SLURM_JOB_ID" in os.environ:
            times = min(times, 1) if catches(self.process.pid, signal.SIGTERM) else 0
        while self.times_told < times:
            self.times_told += 1
            terminate(self.process)


class Launcher:
    """Walks the jobs of a sweep until all are done, have failed, or can't be done.

    Args:
        jobs: in walking order.
        workers: that run them.
        retries: attempts after the first, for a job that came no further in it.
        max_seconds: after which no job is started any more.
        on_change: told of the job and its status whenever the state of one changes.
        has_ended_well: whether what a job writes last was written at this time or later; asked of
            a job whose launcher was killed, so that nobody saw how it ended.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: Sequence[Worker],
        *,
        retries: int = 1,
        max_seconds: float = float("inf"),
        on_change: Callable[[Job, Status], None] = lambda job, status: None,
        has_ended_well: Callable[[Job, float], bool] = lambda job, began: False,
    ):
        self.jobs = {job.key: job for job in jobs}
        self.status = {job.key: Status() for job in jobs}
        self._num_workers = len(workers)
        self._free = [_Slot(worker) for worker in workers]
        self._running: list[_Running] = []
        self._retries, self._on_change = retries, on_change
        self._has_ended_well = has_ended_well
        self._end = time.monotonic() + max_seconds
        self._stops = 0

    def stop(self) -> None:
        """Ask the running jobs to save and end, and start no more; for a signal handler.

        A second call reaches them as a second signal, at which a training ends unsaved.
        """
        self._stops += 1

    def run(self, tick: Callable[[], None] = lambda: None) -> bool:
        """Work; `tick` is called at each round. Returns whether every job is done."""
        try:
            while True:
                self._collect()
                for running in self._running:
                    running.tell(self._stops)
                if self._stops or time.monotonic() > self._end:
                    self._leave_rest()
                else:
                    self._start_what_can_be()
                tick()
                if not self._running and not self._waiting():
                    for job in self.jobs.values():  # of which some were done, but had not ended
                        self._settle(job)
                    return all(status.state == DONE for status in self.status.values())
                time.sleep(POLL_SECONDS)
        finally:
            # After an error of this process: the jobs save and end, as after a signal.
            for running in self._running:
                terminate(running.process)
            for slot in self._free:
                slot.close()

    def _waiting(self) -> bool:
        return any(s.state in (WAITING, READY, ELSEWHERE) for s in self.status.values())

    def _set(self, key: str, state: str, note: str = "") -> None:
        status = self.status[key]
        if (status.state, status.note) == (state, note):
            return
        status.state, status.note = state, note
        status.started = time.time() if state == RUNNING else None
        self._on_change(self.jobs[key], status)

    def _start_what_can_be(self) -> None:
        for key, job in self.jobs.items():
            status = self.status[key]
            if status.state not in (WAITING, READY, ELSEWHERE):
                continue
            self._settle(job)
            if job.is_done():
                self._set(key, DONE)
                continue
            needed = [(name, self.status[name].state) for name in job.needs if name in self.status]
            if lost := [name for name, state in needed if state in (FAILED, BLOCKED)]:
                self._set(key, BLOCKED, f"needs {lost[0]}, which failed")
            elif any(state != DONE for _, state in needed):
                self._set(key, WAITING)
            elif self._free:
                self._try_start(job)
            elif status.state == WAITING:
                self._set(key, READY)

    def _settle(self, job: Job) -> None:
        """Write down what became of a job whose launcher was killed, once it has ended."""
        if (job.directory / BEGUN).exists() and (lock := Lock.take(job.lock)) is not None:
            self._write_down(job)
            lock.release()

    def _write_down(self, job: Job) -> None:
        """The attempt that nobody waited for, if there is one; the job's lock is held."""
        begun = job.directory / BEGUN
        if not begun.exists():
            return
        name, origin = read_begun(begun)
        log, began = job.directory / name, begun.stat().st_mtime
        if self._has_ended_well(job, began):
            (job.directory / "done").touch()
        if log.name not in {attempt["log"] for attempt in read_attempts(job.directory)}:
            record_attempt(
                job.directory,
                code=0 if job.is_done() else -signal.SIGKILL,
                # It leaves its log, and says nothing of cores and memory.
                used=Used(max(0.0, log.stat().st_mtime - began), core_seconds=0.0, peak_bytes=0),
                log=log.name,
                origin=origin,
            )
        begun.unlink()

    def _try_start(self, job: Job) -> None:
        lock = Lock.take(job.lock)
        if lock is None:
            self._set(job.key, ELSEWHERE, holder(job.lock))
            return
        self._write_down(job)  # it may have ended since `_settle` looked
        if job.is_done():  # by who held the lock a moment ago
            lock.release()
            self._set(job.key, DONE)
            return
        slot = self._slot_for(job)
        log = job.directory / f"attempt_{len(list(job.directory.glob('attempt_*.log'))) + 1}.log"
        options = {
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "env": {**os.environ, **slot.worker.environment},
            # Ctrl-C is the launcher's to hand on, once.
            "start_new_session": True,
        }
        # The job holds the lock with its launcher, and alone if that dies.
        with open(log, "wb") as file, _on_cores(slot.worker.cores):
            if slot.kept is None:  # it is started now, of what the checkout is now
                slot.origin = origin_now(machine_of(slot.worker, self._num_workers))
            (job.directory / BEGUN).write_text(json.dumps({"log": log.name, **slot.origin}))
            if job.server:
                slot.kept = slot.kept or Kept(job.server, file, **options)
                slot.kept.give(job.request, lock.fileno(), file.fileno())
                process = slot.kept.process
            else:
                process = subprocess.Popen(
                    job.command, stdout=file, pass_fds=(lock.fileno(),), **options
                )
        self._running.append(_Running(job, slot, process, lock, log, job.step(), slot.origin))
        self._set(job.key, RUNNING)

    def _slot_for(self, job: Job) -> _Slot:
        """A free worker, one that has kept the job's server if there is one."""
        for slot in self._free:
            if slot.kept is not None and slot.kept.has_ended():
                slot.close()
        kept = [slot for slot in self._free if slot.kept and slot.kept.server == job.server]
        empty = [slot for slot in self._free if not slot.kept]
        slot = (kept or empty or self._free)[0]
        self._free.remove(slot)
        if not kept:
            slot.close()
        return slot

    def _collect(self) -> None:
        """Look which jobs have ended."""
        for running in list(self._running):
            if (ended := running.poll()) is None:
                continue
            self._running.remove(running)
            self._free.append(running.slot)
            if running.process.returncode is not None:
                running.slot.close()
            job = running.job
            record_attempt(
                job.directory,
                code=ended.code,
                used=Used(time.time() - running.began, ended.core_seconds, ended.peak_bytes),
                log=running.log.name,
                origin=running.origin,
            )
            if ended.code == 0:
                (job.directory / "done").touch()
            (job.directory / BEGUN).unlink(missing_ok=True)
            done = job.is_done()
            running.lock.release()
            self._judge(running, ended.code, done)

    def _judge(self, running: _Running, code: int, done: bool) -> None:
        """What becomes of a job whose process has ended."""
        job, status = running.job, self.status[running.job.key]
        if done:
            self._set(job.key, DONE)
            return
        if self._stops and (code in INTERRUPTED or code < 0):
            self._set(job.key, NOT_STARTED, "stopped; the same command goes on")
            return
        status.failures = 0 if job.step() > running.step else status.failures + 1
        told = last_line(running.log) or "it said nothing"
        if status.failures > self._retries:
            self._set(job.key, FAILED, f"{told} (exit code {code}; {running.log})")
        else:
            self._set(job.key, READY, f"tried again after exit code {code}: {told}")

    def _leave_rest(self) -> None:
        note = "stopped" if self._stops else "--max-hours are over"
        for key, status in self.status.items():
            if status.state in (WAITING, READY, ELSEWHERE):
                done = self.jobs[key].is_done()
                self._set(key, *((DONE,) if done else (NOT_STARTED, note)))


@contextmanager
def _on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes started in this block run on these cores."""
    before = os.sched_getaffinity(0)  # of this thread, which children inherit
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def terminate(process: subprocess.Popen) -> None:
    """Send SIGTERM to a process that has not been waited for; Popen's own might wait for it."""
    if process.returncode is None:
        os.kill(process.pid, signal.SIGTERM)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def read_begun(path: Path) -> tuple[str, dict[str, Any]]:
    """The name of an attempt's log, and its origin; nothing of this where it was not written."""
    text = path.read_text()
    try:
        origin = json.loads(text)
        return origin.pop("log"), origin
    except ValueError:  # an earlier version's: the name alone
        return text, {}


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
