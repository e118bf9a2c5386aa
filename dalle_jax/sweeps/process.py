"""A process that works at jobs on a worker's cores and GPUs: its start, stop and end."""

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dalle_jax.files import Lock, holder, process_name
from dalle_jax.sweeps.jobs import Job
from dalle_jax.sweeps.points import write_points
from dalle_jax.sweeps.record import begin_attempt, end_attempt, origin_now, read_attempts, used_by
from dalle_jax.sweeps.workers import Worker


@dataclass
class Process:
    """A process that does one job, or the jobs of a batch in turn.

    Attributes:
        lock: of the first job, shared with the process.
        step: how far the first job had come when it started.
        stops: how many signals to stop it was sent.
        usage: once it has ended.
    """

    jobs: Sequence[Job]
    worker: Worker
    popen: subprocess.Popen
    lock: Lock
    step: int
    stops: int = 0
    usage: resource.struct_rusage | None = None

    @classmethod
    def start(
        cls, jobs: Sequence[Job], worker: Worker, lock: Lock, machine: str, until: float
    ) -> "Process":
        """Start a process for jobs of one batch, with the lock of the first.

        The record of its attempt names the machine; it begins no job after `until`, in seconds
        since the epoch.
        """
        first, origin = jobs[0], origin_now(machine)
        log = begin_attempt(first.directory, origin)
        request = log.with_suffix(".json")
        if first.batch:
            write_points(request, [job.request for job in jobs], origin, until)
        else:
            request.write_text(json.dumps(first.request, indent=1))
        # The process shares the lock with this one, and keeps it if this one dies.
        with open(log, "wb") as file, _on_cores(worker.cores):
            popen = subprocess.Popen(
                first.command(request),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                pass_fds=(lock.fileno(),),
                env={**os.environ, **worker.environment},
                start_new_session=True,  # Ctrl-C is passed on once, by `stop`
            )
        lock.name_holder(popen.pid)
        return cls(jobs, worker, popen, lock, first.step())

    def holds(self, job: Job) -> bool:
        """Whether it took the lock of a job last."""
        return holder(job.lock) == process_name(self.popen.pid)

    def has_ended(self) -> bool:
        """Whether it has ended; then its exit code and its usage are known."""
        pid, status, usage = os.wait4(self.popen.pid, os.WNOHANG)
        if pid:
            self.popen.returncode, self.usage = os.waitstatus_to_exitcode(status), usage
        return bool(pid)

    def record_end(self, job: Job) -> Path:
        """Record that its attempt at a job, its last, has ended; returns the attempt's log."""
        attempt = read_attempts(job.directory)[-1]
        log, began = job.directory / attempt["log"], datetime.fromisoformat(attempt["began"])
        used = used_by(self.usage, time.time() - began.timestamp())
        before = (other for other in self.jobs if other is not job and self.holds(other))
        recorded = sum(read_attempts(other.directory)[-1]["core_seconds"] for other in before)
        used = used._replace(core_seconds=used.core_seconds - recorded)
        end_attempt(log, self.popen.returncode, used)
        return log

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
