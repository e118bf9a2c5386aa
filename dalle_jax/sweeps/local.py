"""The local backend: workers of one machine, each a process at a time on cores and GPUs of its own.

Any number of launchers may walk the same graph: a job is run by the one that holds its lock, and
what is done is looked for anew before each start.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dalle_jax.sweeps.job import Job
from dalle_jax.sweeps.locks import Lock, holder
from dalle_jax.sweeps.record import record_attempt

POLL_SECONDS = 0.5
INTERRUPTED = (130, 143)  # saved and stopped by SIGINT or SIGTERM

# States of a job, as they are shown.
DONE, WAITING, READY, RUNNING, ELSEWHERE, FAILED, BLOCKED, NOT_STARTED = (
    *("done", "waiting", "ready", "running", "elsewhere", "failed", "blocked", "not started"),
)


@dataclass(frozen=True)
class Worker:
    """What one job may use.

    Attributes:
        cores: numbers of CPU cores.
        environment: variables that its processes get besides the launcher's.
    """

    cores: frozenset[int]
    environment: Mapping[str, str]


def divide(count: int, *, share: bool = False) -> list[Worker]:
    """`count` workers, among which this machine's cores and GPUs are divided.

    With `share` several workers may have the same core or GPU, and each but its part of the GPU's
    memory.

    Raises:
        ValueError: there are more workers than cores or GPUs, and they are not to be shared.
    """
    cores, gpus = sorted(os.sched_getaffinity(0)), visible_gpus()
    if count < 1:
        raise ValueError(f"{count} workers do no work; give at least 1")
    for devices, name in ((gpus, "GPU"), (cores, "core")):
        if devices and count > len(devices) and not share:
            raise ValueError(
                f"{count} workers and {len(devices)} {name}{'s' * (len(devices) > 1)}: give at "
                f"most {len(devices)} workers, or --share if they shall run on the same devices"
            )
    workers = []
    for i in range(count):
        environment = {}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_part(gpus, i, count))
            on_one = -(-count // len(gpus))
            if on_one > 1:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / on_one:.3f}"
        workers.append(Worker(frozenset(_part(cores, i, count)), environment))
    return workers


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return []
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted((number for number in numbers if number.isdecimal()), key=int)


def _part(devices: Sequence, i: int, count: int) -> list:
    """The i-th of `count` parts; of fewer devices than parts, one that others have as well."""
    if count > len(devices):
        return [devices[i % len(devices)]]
    return list(devices[i * len(devices) // count : (i + 1) * len(devices) // count])


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
class _Running:
    """A job's process."""

    job: Job
    worker: Worker
    process: subprocess.Popen
    lock: Lock
    log: Path
    step: int
    began: float = field(default_factory=time.time)
    times_told: int = 0  # to stop

    def tell(self, times: int) -> None:
        """Let it have been told `times` times to stop.

        Where Slurm tracks processes by cgroups, it signals every one of a task by itself. So a job
        that saves is signalled in it only as long as it expects that, and only once.
        """
        if self.job.saves and "SLURM_JOB_ID" in os.environ:
            times = min(times, 1) if catches(self.process.pid, signal.SIGTERM) else 0
        while self.times_told < times:
            self.times_told += 1
            self.process.terminate()


class Launcher:
    """Walks the jobs of a sweep until all are done, have failed, or can't be done.

    Args:
        jobs: in walking order.
        workers: that run them.
        retries: attempts after the first, for a job that came no further in it.
        max_seconds: after which no job is started any more.
        on_change: told of the job and its status whenever the state of one changes.
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
        self._free = list(workers)
        self._running: list[_Running] = []
        self._retries, self._on_change = retries, on_change
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
                    return all(status.state == DONE for status in self.status.values())
                time.sleep(POLL_SECONDS)
        finally:
            # After an error of this process: the jobs save and end, as after a signal.
            for running in self._running:
                running.process.terminate()

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

    def _try_start(self, job: Job) -> None:
        lock = Lock.take(job.lock)
        if lock is None:
            self._set(job.key, ELSEWHERE, holder(job.lock))
            return
        if job.is_done():  # by who held the lock a moment ago
            lock.release()
            self._set(job.key, DONE)
            return
        worker = self._free.pop(0)
        log = job.directory / f"attempt_{len(list(job.directory.glob('attempt_*.log'))) + 1}.log"
        with open(log, "wb") as file, _on_cores(worker.cores):
            process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **worker.environment},
                # The job holds the lock with its launcher, and alone if that dies.
                pass_fds=(lock.fileno(),),
                # Ctrl-C is the launcher's to hand on, once.
                start_new_session=True,
            )
        self._running.append(_Running(job, worker, process, lock, log, job.step()))
        self._set(job.key, RUNNING)

    def _collect(self) -> None:
        """Look which processes have ended."""
        for running in list(self._running):
            pid, wait_status, usage = os.wait4(running.process.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(wait_status)
            running.process.returncode = code
            self._running.remove(running)
            self._free.append(running.worker)
            job = running.job
            record_attempt(
                job.directory,
                code=code,
                seconds=time.time() - running.began,
                core_seconds=usage.ru_utime + usage.ru_stime,
                peak_bytes=1024 * usage.ru_maxrss,  # Linux counts in KiB
                log=running.log.name,
            )
            if code == 0:
                (job.directory / "done").touch()
            done = job.is_done()
            running.lock.release()
            self._judge(running, code, done)

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


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
