"""A process that is kept for the next job: what it opens once, and what becomes of it in faults."""

import dataclasses
import os
import signal
import sys
import time

import pytest

from dalle_jax.files import Lock
from dalle_jax.sweeps import local
from dalle_jax.sweeps.job import Job, read_attempts
from dalle_jax.sweeps.local import DONE, FAILED, NOT_STARTED, Launcher
from dalle_jax.sweeps.workers import Worker
from tests.conftest import ROOT

# Writes a file named as asked, with its own process number in it; `fail` and `die` are what they
# say, until a file `mended` is there; `wait` waits for it, `burn` uses half a second of a core, and
# `both0` and `both1` wait for each other.
SERVER = """
import os, pathlib, signal, sys, time
sys.path.insert(0, sys.argv[1])
from dalle_jax.sweeps.kept import serve

def work(request):
    folder, name = pathlib.Path(request[0]), request[1]
    print("this is", name)
    mended = (folder / "mended").exists()
    if name == "fail" and not mended:
        print("it does not work")
        return 3
    if name == "die" and not mended:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"begun-{name}").touch()
    while name == "wait" and not (folder / "mended").exists():
        time.sleep(0.01)
    other = {"both0": "both1", "both1": "both0"}.get(name)
    while other and not (folder / f"begun-{other}").exists():
        time.sleep(0.01)
    end = time.process_time() + (0.5 if name == "burn" else 0)
    while time.process_time() < end:
        pass
    (folder / name).write_text(str(os.getpid()))
    return 0

serve(int(sys.argv[-1]), work)
"""


@pytest.fixture
def jobs_for(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "POLL_SECONDS", 0.02)

    def jobs(*names: str, group: str = "a") -> list[Job]:
        return [
            Job(
                *(name, name, ("false",), (), tmp_path / "jobs" / name),
                is_done=(tmp_path / name).exists,
                step=lambda: 0,
                server=(sys.executable, "-c", SERVER, str(ROOT), group),
                request=(str(tmp_path), name),
            )
            for name in names
        ]

    return jobs


def launch(jobs, workers=1, tick=lambda launcher: None, **options) -> Launcher:
    cores = frozenset(os.sched_getaffinity(0))
    launcher = Launcher(jobs, [Worker(cores, {})] * workers, **options)
    launcher.run(lambda: tick(launcher))
    return launcher


def states(launcher) -> dict[str, str]:
    return {key: status.state for key, status in launcher.status.items()}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_of_one_server_share_a_process_and_others_do_not(tmp_path, jobs_for):
    jobs = [*jobs_for("one", "burn", "three"), *jobs_for("other", group="b")]
    assert set(states(launch(jobs)).values()) == {DONE}
    pids = {name: int((tmp_path / name).read_text()) for name in ("one", "burn", "three", "other")}
    assert pids["one"] == pids["burn"] == pids["three"] != pids["other"]
    assert not any(map(alive, pids.values()))  # none is left behind
    for name in pids:
        (attempt,) = read_attempts(tmp_path / "jobs" / name)
        assert attempt["exit_code"] == 0 and attempt["peak_bytes"] > 1e6
        used = attempt["core_seconds"]
        assert used >= 0.5 if name == "burn" else name in ("one", "other") or used < 0.4
        assert (tmp_path / "jobs" / name / attempt["log"]).read_text() == f"this is {name}\n"
        assert Lock.take(tmp_path / "jobs" / name / "lock") is not None


@pytest.mark.parametrize(("fault", "code"), [("fail", 3), ("die", -signal.SIGKILL)])
def test_what_fails_takes_its_process_with_it_and_no_other_job(tmp_path, jobs_for, fault, code):
    jobs = jobs_for("before", fault, "after")
    launcher = launch(jobs)
    assert states(launcher) == {"before": DONE, fault: FAILED, "after": DONE}
    attempts = read_attempts(tmp_path / "jobs" / fault)
    assert [attempt["exit_code"] for attempt in attempts] == [code, code]  # it was tried again
    assert f"exit code {code}" in launcher.status[fault].note
    (tmp_path / "mended").touch()
    assert set(states(launch(jobs)).values()) == {DONE}


def test_two_workers_keep_a_process_each(tmp_path, jobs_for):
    names = ["both0", "both1", *(f"job{i}" for i in range(4))]
    assert set(states(launch(jobs_for(*names), workers=2)).values()) == {DONE}
    assert len({(tmp_path / name).read_text() for name in names}) == 2


def test_a_process_that_dies_between_two_jobs_is_no_jobs_fault(tmp_path, jobs_for):
    first, second = jobs_for("first", "second")
    second = dataclasses.replace(second, needs=("gate",))
    gate = Job(
        *("gate", "gate", ("true",), (), tmp_path / "jobs/gate"),
        is_done=(tmp_path / "gate").exists,
        step=lambda: 0,
    )
    lock = Lock.take(gate.lock)  # so that it is done elsewhere, while the process is idle

    def tick(launcher):
        if states(launcher)["first"] == DONE and not (tmp_path / "gate").exists():
            os.kill(int((tmp_path / "first").read_text()), signal.SIGKILL)
            (tmp_path / "gate").touch()

    assert set(states(launch([first, gate, second], tick=tick, retries=0)).values()) == {DONE}
    assert lock is not None and len(read_attempts(tmp_path / "jobs/second")) == 1


def test_a_stopped_launcher_stops_the_job_and_goes_on_later(tmp_path, jobs_for):
    jobs = jobs_for("before", "wait", "after")

    def tick(launcher):
        if (tmp_path / "begun-wait").exists():
            launcher.stop()

    launcher = launch(jobs, tick=tick)
    assert states(launcher) == {"before": DONE, "wait": NOT_STARTED, "after": NOT_STARTED}
    assert not alive(int((tmp_path / "before").read_text()))
    (tmp_path / "mended").touch()
    assert set(states(launch(jobs)).values()) == {DONE}


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_job_outlives_its_launcher_and_holds_its_lock_and_then_its_process_ends(
    tmp_path, jobs_for
):
    (job,) = jobs_for("wait")
    if (launcher := os.fork()) == 0:
        launch([job])
        os._exit(0)
    wait_for((tmp_path / "begun-wait").exists)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert Lock.take(job.lock) is None
    (tmp_path / "mended").touch()
    wait_for(lambda: (tmp_path / "wait").exists() and (tmp_path / "wait").read_text())
    wait_for(lambda: not alive(int((tmp_path / "wait").read_text())))
    assert Lock.take(job.lock) is not None
    assert (job.directory / "attempt_1.log").read_text() == "this is wait\n"  # and no more


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
