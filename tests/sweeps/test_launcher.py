"""Locks, signals and logs of jobs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dalle_jax.files import Lock, holder
from dalle_jax.sweeps import launcher as launchers
from dalle_jax.sweeps import process as processes
from dalle_jax.sweeps.jobs import Job
from dalle_jax.sweeps.launcher import Launcher, State
from dalle_jax.sweeps.process import catches, last_line
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.workers import Worker


def launcher_of(directory: Path, *command: str, is_done, worker=None, **options) -> Launcher:
    """Of a single job, which runs a Python program whatever its request."""
    command = (sys.executable, "-S", "-c", *command)
    job = Job("job", "train", lambda request: command, {}, (), directory, is_done, **options)
    return Launcher([job], [Worker(frozenset(os.sched_getaffinity(0)), worker or {})])


def test_a_lock_is_one_processs_until_that_ends(tmp_path):
    path = tmp_path / "job/lock"
    code = (
        "import sys; from pathlib import Path; from dalle_jax.files import Lock\n"
        "lock = Lock.take(Path(sys.argv[1])); print(lock is not None, flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert other.stdout.readline() == "True\n"
    assert Lock.take(path) is None
    assert holder(path).endswith(f"process {other.pid}")
    other.kill()
    other.wait()
    lock = Lock.take(path)  # a dead process holds nothing
    assert lock is not None and holder(path).endswith(f"process {os.getpid()}")
    job = subprocess.Popen(["sleep", "60"], pass_fds=(lock.fileno(),))
    lock.release()  # as at the launcher's death: the job keeps the lock
    assert Lock.take(path) is None
    job.kill()
    job.wait()
    assert Lock.take(path) is not None


SAVES = """
import signal, sys, time
from pathlib import Path

def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one would end it unsaved
    time.sleep(1)
    Path(sys.argv[1], "saved").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("slurm_signals", [True, False])
def test_under_slurm_a_job_is_signalled_once_by_slurm_or_the_launcher(
    slurm_signals, tmp_path, monkeypatch
):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.05)
    launcher = launcher_of(
        tmp_path / "job", SAVES, str(tmp_path), is_done=lambda: False, saves=True
    )

    def tick():
        if (tmp_path / "ready").exists():
            (tmp_path / "ready").unlink()
            if slurm_signals:
                (process,) = launcher.processes
                process.popen.terminate()
                while catches(process.popen.pid, signal.SIGTERM):
                    time.sleep(0.01)
            launcher.stop()

    assert not launcher.run(tick)
    assert (tmp_path / "saved").exists()
    assert launcher.status["job"].state is State.NOT_STARTED


def test_the_last_line_of_a_log_is_the_last_that_says_something(tmp_path):
    log = tmp_path / "log"
    for content, line in ((b"first\nthe reason\n\n  \n", "the reason"), (b"", "")):
        log.write_bytes(content)
        assert last_line(log) == line
    log.write_bytes(b"x" * 9000 + b"\n\xff torn")
    assert last_line(log).endswith("torn")


def test_an_attempt_records_where_and_by_what_code_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.02)
    monkeypatch.chdir(tmp_path)
    revision = ["before"]
    now = lambda machine: {"git_revision": revision[0], "machine": machine}
    monkeypatch.setattr(processes, "origin_now", now)
    monkeypatch.setattr(launchers, "machine_of", lambda w, n: f"{n} of {w.environment['WORKER']}")
    made = (tmp_path / "made").exists
    job = tmp_path / "job"
    launcher = launcher_of(job, "open('made', 'w')", is_done=made, worker={"WORKER": "one"})
    assert launcher.run(lambda: revision.__setitem__(0, "after"))
    (attempt,) = read_attempts(job)
    assert (attempt["git_revision"], attempt["machine"]) == ("before", "1 of one")
    assert attempt["exit_code"] == 0
