"""Points that one process measures in turn: what they share, and what becomes of them in faults."""

import json
import os
import signal
import sys
import time

import pytest

from dalle_jax.files import Lock
from dalle_jax.sweeps import launcher as launchers
from dalle_jax.sweeps.jobs import Job
from dalle_jax.sweeps.launcher import Launcher, State
from dalle_jax.sweeps.points import measure_points, write_points
from dalle_jax.sweeps.progress import read_images
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.workers import Worker
from tests.conftest import PATIENCE, ROOT

# Measures a point by writing its process number to FOLDER/NAME. Until FOLDER/mended is there,
# `fail` fails, `die` is killed and `wait` waits. `burn` uses half a second of a core; `both0` and
# `both1` wait for each other.
PROGRAM = """
import os, pathlib, signal, sys, time
sys.path.insert(0, sys.argv[1])
from dalle_jax.sweeps.points import measure_points

def measure(point, on_progress):
    name, folder = point["name"], pathlib.Path(point["folder"])
    print("this is", name)
    on_progress(1, 2)
    mended = folder / "mended"
    if name == "fail" and not mended.exists():
        sys.exit("it does not work")
    if name == "die" and not mended.exists():
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / f"begun-{name}").touch()
    while name == "wait" and not mended.exists():
        time.sleep(0.01)
    other = {"both0": "both1", "both1": "both0"}.get(name)
    while other and not (folder / f"begun-{other}").exists():
        time.sleep(0.01)
    end = time.process_time() + (0.5 if name == "burn" else 0)
    while time.process_time() < end:
        pass
    (folder / name).write_text(str(os.getpid()))

measure_points(pathlib.Path(sys.argv[2]), measure)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.02)
    return tmp_path


def jobs_for(folder, *names: str, batch: str = "a") -> list[Job]:
    command = (sys.executable, "-S", "-c", PROGRAM, str(ROOT))
    return [
        Job(
            key=name,
            title=name,
            command=lambda request: (*command, str(request)),
            request={"name": name, "folder": str(folder), "job": str(folder / "jobs" / name)},
            needs=(),
            directory=folder / "jobs" / name,
            is_done=(folder / "jobs" / name / "done").exists,
            batch=batch,
        )
        for name in names
    ]


def launch(jobs, workers=1, tick=lambda launcher: None, **options) -> dict[str, State]:
    """The states of jobs after they were run."""
    launcher = Launcher(jobs, [Worker(frozenset(os.sched_getaffinity(0)), {})] * workers, **options)
    launcher.run(lambda: tick(launcher))
    return states(launcher)


def states(launcher) -> dict[str, State]:
    return {key: status.state for key, status in launcher.status.items()}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_points_of_one_batch_share_a_process_and_record_their_own_cost(folder):
    jobs = [*jobs_for(folder, "one", "burn", "three"), *jobs_for(folder, "other", batch="b")]
    assert set(launch(jobs).values()) == {State.DONE}
    pids = {job.key: int((folder / job.key).read_text()) for job in jobs}
    assert pids["one"] == pids["burn"] == pids["three"] != pids["other"]
    assert not any(map(alive, pids.values()))
    for job in jobs:
        (attempt,) = read_attempts(job.directory)
        assert attempt["exit_code"] == 0 and attempt["peak_bytes"] > 1e6 and "host" in attempt
        used = attempt["core_seconds"]
        assert used >= 0.5 if job.key == "burn" else job.key in ("one", "other") or used < 0.4
        assert (job.directory / attempt["log"]).read_text() == f"this is {job.key}\n"
        assert Lock.take(job.lock) is not None


@pytest.mark.parametrize(("fault", "code"), [("fail", 1), ("die", -signal.SIGKILL)])
def test_a_fault_counts_only_for_the_point_at_which_it_happens(folder, fault, code):
    jobs, notes = jobs_for(folder, "burn", fault, "after", "last"), {}
    note = lambda job, status: notes.update({job.key: status.note})
    done = dict.fromkeys(("burn", "after", "last"), State.DONE)
    assert launch(jobs, on_change=note) == {**done, fault: State.FAILED}
    codes = {job.key: [a["exit_code"] for a in read_attempts(job.directory)] for job in jobs}
    assert codes == {"burn": [0], fault: [code, code], "after": [0], "last": [0]}
    assert f"exit code {code}" in notes[fault]
    assert (folder / "after").read_text() == (folder / "last").read_text()
    # Core seconds of the points before are not counted again.
    assert 0 <= read_attempts(folder / "jobs" / fault)[0]["core_seconds"] < 0.4
    (folder / "mended").touch()
    assert set(launch(jobs).values()) == {State.DONE}


def test_two_workers_share_the_points_of_a_batch(folder):
    jobs = jobs_for(folder, "both0", "both1", *(f"job{i}" for i in range(4)))
    assert set(launch(jobs, workers=2).values()) == {State.DONE}
    assert (folder / "both0").read_text() != (folder / "both1").read_text()
    assert all(len(read_attempts(job.directory)) == 1 for job in jobs)


def test_the_launcher_knows_at_which_point_a_process_is(folder):
    jobs, seen = jobs_for(folder, "before", "wait", "after"), []

    def tick(launcher):
        if (folder / "begun-wait").exists() and not (folder / "mended").exists():
            seen.append(states(launcher))
            if seen[-1]["wait"] is State.RUNNING:
                assert read_images(jobs[1].directory) == (1, 2, pytest.approx(0, abs=5))
                (folder / "mended").touch()

    launch(jobs, tick=tick)
    expected = {"before": State.DONE, "wait": State.RUNNING, "after": State.READY}
    assert seen[-1] == expected


def test_a_stopped_launcher_stops_the_point_and_goes_on_later(folder):
    jobs = jobs_for(folder, "before", "wait", "after")
    stop = lambda launcher: launcher.stop() if (folder / "begun-wait").exists() else None
    expected = {"before": State.DONE, "wait": State.NOT_STARTED, "after": State.NOT_STARTED}
    assert launch(jobs, tick=stop) == expected
    assert not alive(int((folder / "before").read_text()))
    (folder / "mended").touch()
    assert set(launch(jobs).values()) == {State.DONE}


def test_when_the_hours_are_over_a_process_ends_the_point_it_is_at(folder):
    def tick(launcher):
        if states(launcher)["after"] is State.NOT_STARTED:
            (folder / "mended").touch()

    found = launch(jobs_for(folder, "wait", "after"), tick=tick, max_seconds=1.5)
    assert found == {"wait": State.DONE, "after": State.NOT_STARTED}
    assert not (folder / "after").exists()


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_process_outlives_its_launcher_and_measures_the_rest(folder):
    jobs = jobs_for(folder, "wait", "after")
    if (launcher := os.fork()) == 0:
        launch(jobs)
        os._exit(0)
    wait_for((folder / "begun-wait").exists)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert Lock.take(jobs[0].lock) is None
    (folder / "mended").touch()
    wait_for((jobs[1].directory / "done").exists)
    wait_for(lambda: not alive(int((folder / "after").read_text())))
    assert Lock.take(jobs[0].lock) is not None
    assert set(launch(jobs).values()) == {State.DONE}
    assert [a["exit_code"] for job in jobs for a in read_attempts(job.directory)] == [0, 0]


def test_points_that_are_done_or_at_which_another_process_works_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # the output stays this test's
    jobs = {name: tmp_path / name for name in ("first", "done", "locked", "last")}
    for directory in jobs.values():
        directory.mkdir()
    (jobs["done"] / "done").touch()
    lock, measured = Lock.take(jobs["locked"] / "lock"), []
    points = [{"name": name, "job": str(directory)} for name, directory in jobs.items()]
    request = jobs["first"] / "attempt_1.json"
    write_points(request, points, {"host": "here"}, until=float("inf"))
    measure_points(request, lambda point, on_progress: measured.append(point["name"]))
    assert measured == ["first", "last"] and lock is not None
    assert (jobs["last"] / "done").exists() and not (jobs["locked"] / "done").exists()
    write_points(request, points, {}, until=0)
    measure_points(request, lambda point, on_progress: measured.append(point["name"]))
    assert measured == ["first", "last", "first"]  # which was begun when the file was written
    assert json.loads(request.read_text())["points"] == points
