"""A whole sweep: shared stages once, killed and started again, crashes, two launchers at once."""

import csv
import dataclasses
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from dalle_jax.files import holder
from dalle_jax.sweeps import launcher as launchers
from dalle_jax.sweeps import run as sweep_run
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.launcher import Launcher, State
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.results import COST_COLUMNS, table, write_table
from dalle_jax.sweeps.workers import Worker
from tests.sweeps.stand_in import state_of, value_of
from tests.sweeps.twelve import CONFIG, DISTINCT, SWEEP, calls, graph_of, launch, prepared

# The launchers' processes: forked, so that nothing is imported anew; they compute nothing with jax.
PROCESSES = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.fixture(scope="module")
def graph():
    return graph_of()


@pytest.fixture(scope="module")
def finished(graph, tmp_path_factory):
    """A workdir in which the sweep ran undisturbed."""
    layout, jobs = prepared(graph, tmp_path_factory.mktemp("sweep"))
    assert states(launch(jobs)) == {State.DONE}
    return layout, jobs


def states(launcher: Launcher) -> set[State]:
    return {status.state for status in launcher.status.values()}


def values(graph, layout):
    """The table without what a second run would not have the same."""
    return [{k: v for k, v in row.items() if k not in COST_COLUMNS} for row in table(graph, layout)]


def launch_until(condition, target, *args):
    """Run a launcher in a process and kill it once a condition holds."""
    process = PROCESSES.Process(target=target, args=args)
    process.start()
    while not condition():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it had ended before the kill"


def process_of(job) -> list[int]:
    """The process that works at a job, if there is one."""
    pid = holder(job.lock).rpartition(" ")[2]
    try:
        return [int(pid)] if b"stand_in.py" in Path(f"/proc/{pid}/cmdline").read_bytes() else []
    except OSError:
        return []


def test_each_distinct_stage_is_trained_once_and_each_point_measured(graph, finished):
    layout, jobs = finished
    counted = calls(layout.workdir)
    assert set(counted.values()) == {1}
    trained = [name.split()[1] for name in counted if name.startswith("train ")]
    assert {stage: sum(k.startswith(stage) for k in trained) for stage in DISTINCT} == DISTINCT
    assert sum(name.startswith("evaluate ") for name in counted) == len(SWEEP.points) == 12
    launch(jobs)  # what is finished is skipped
    assert calls(layout.workdir) == counted


def test_the_table_has_a_row_for_each_point_and_metric(graph, finished, tmp_path):
    layout, _ = finished
    rows = table(graph, layout, flops_of=lambda run: 100.0)
    assert len(rows) == 12 * 4  # three validation losses and one metric each
    for row in (row for row in rows if row["metric"] == "oracle/caption"):
        guidance = row["decoder.sample.guidance_scale"]
        clip, _, decoder = row["runs"].split()
        # As the stand-in makes it: of the point's decoder, each step made once, and its guidance.
        value = guidance / 100 + value_of(state_of(decoder, state_of(clip)))
        assert row["value"] == pytest.approx(value) and row["low"] == pytest.approx(value - 1)
        assert row["protocol_hash"] == f"oracle{guidance}" and row["floor"] == 1.0
        assert row["flops"] == 300 and row["seed"] == 0
        assert row["train_seconds"] > 0 and row["peak_bytes"] > 1e6
        assert row["git_revision"] is not None and "jax" in row["versions"]
    csv_file, parquet_file = write_table(rows, tmp_path)
    with csv_file.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["point"] for row in read] == [row["point"] for row in rows]
    assert float(read[3]["value"]) == rows[3]["value"]
    assert parquet.read_table(parquet_file).to_pylist()[3]["value"] == rows[3]["value"]


@pytest.mark.parametrize("with_its_jobs", [False, True])
def test_killed_at_a_random_moment_it_ends_with_the_same_table(
    graph, finished, tmp_path, monkeypatch, with_its_jobs
):
    monkeypatch.setenv("STAND_IN_SECONDS", "0.01")
    layout, jobs = prepared(graph, tmp_path / "killed")
    seed = random.SystemRandom().randrange(1000)
    moment = random.Random(seed)
    many = moment.randint(1, 13)  # of the 17 calls that there are to be
    launch_until(lambda: calls(layout.workdir).total() >= many, launch, jobs)
    time.sleep(moment.uniform(0, 0.1))
    if with_its_jobs:  # as a node that goes down; otherwise they live on, and hold their locks
        for pid in (pid for job in jobs for pid in process_of(job)):
            os.kill(pid, signal.SIGKILL)
    assert states(launch(jobs)) == {State.DONE}, f"seed {seed}"
    assert values(graph, layout) == values(graph, finished[0]), f"seed {seed}"
    trained = {name for name in calls(layout.workdir) if name.startswith("train")}
    assert len(trained) == sum(DISTINCT.values())  # none under another name


@pytest.mark.parametrize("moment", ["train clip", "train decoder", "evaluate"])
def test_what_ends_well_after_its_launcher_was_killed_is_not_done_again(
    tmp_path, monkeypatch, moment
):
    monkeypatch.setenv("STAND_IN_SECONDS", "0.05")
    monkeypatch.setattr(launchers, "POLL_SECONDS", 0.02)
    graph = graph_of(dataclasses.replace(SWEEP, points=SWEEP.points[:1]))
    layout, jobs = prepared(graph, tmp_path)
    monkeypatch.setattr(sweep_run, "data_problems", lambda *given: [])
    monkeypatch.setattr(Counts, "training", lambda counts, run: 100.0)
    monkeypatch.setattr(sweep_run, "jobs_of", lambda *given, **options: jobs)
    monkeypatch.setenv("STAND_IN_HOLDS", moment)
    (tmp_path / "hold").touch()
    begun = lambda: any(call.startswith(moment) for call in calls(tmp_path))
    launch_until(begun, sweep_run.run, graph, layout, CONFIG)
    (tmp_path / "hold").unlink()
    assert sweep_run.run(graph, layout, CONFIG) == 0
    counted = calls(tmp_path)
    assert set(counted.values()) == {1} and len(counted) == len(jobs) == 4
    # A launcher sees how a training ends; an evaluation records its end itself.
    unseen = moment.removeprefix("train ")
    for job in jobs:
        (attempt,) = read_attempts(job.directory)
        seen = not (job.key.startswith(unseen + "-") and job.saves)
        assert attempt["exit_code"] == (0 if seen else None)
    (row,) = (row for row in table(graph, layout) if row["metric"] == "oracle/caption")
    # Ten steps of each; what ran under the killed launcher counts up to the last line of its log.
    assert row["train_seconds"] > 3 * 10 * 0.05 * 0.9 and row["evaluate_seconds"] > 10 * 0.05 * 0.9


def test_what_broke_off_after_its_launcher_was_killed_is_done_again(graph, tmp_path, monkeypatch):
    point = graph.points[0]
    _, jobs = prepared(graph, tmp_path)
    (job,) = (job for job in jobs if job.key == evaluation_key(point))
    launch([job for job in jobs if job.key in point.runs.values()])
    monkeypatch.setenv("STAND_IN_SECONDS", "60")  # it is to be killed, not to end
    launch_until(lambda: process_of(job), launch, [job])
    for pid in process_of(job):
        os.kill(pid, signal.SIGKILL)
    monkeypatch.setenv("STAND_IN_SECONDS", "0")
    assert states(launch([job])) == {State.DONE}
    # Nobody saw how the first attempt ended, but it is recorded that it was made.
    assert [a["exit_code"] for a in read_attempts(job.directory)] == [None, 0]


def test_what_crashes_is_tried_again_with_its_log_kept_and_the_rest_goes_on(graph, tmp_path):
    layout, jobs = prepared(graph, tmp_path)
    broken = graph.points[0].runs["decoder"]
    (tmp_path / "crash").write_text(broken)
    launcher = launch(jobs, retries=2)
    hit = {point.name for point in graph.users(broken)}
    assert len(hit) == 6
    for job in jobs:
        status = launcher.status[job.key]
        if job.key == broken:
            assert status.state is State.FAILED
            assert "decoder breaks at step 3" in status.note and "exit code 1" in status.note
        elif job.title.removeprefix("evaluate ") in hit:
            assert status.state is State.BLOCKED and broken in status.note
        else:
            assert status.state is State.DONE
    # The first attempt came to step 2, which is further than nothing, so it did not count.
    attempts = read_attempts(layout.job(broken))
    assert [attempt["exit_code"] for attempt in attempts] == [1, 1, 1, 1]
    for attempt in attempts:
        assert "breaks at step 3" in (layout.job(broken) / attempt["log"]).read_text()
    measured = {r["point"] for r in table(graph, layout) if r["metric"] == "oracle/caption"}
    assert measured == {point.name for point in graph.points} - hit

    (tmp_path / "crash").unlink()
    assert states(launch(jobs)) == {State.DONE}
    assert f"train {broken} from=2" in (tmp_path / "calls").read_text()  # it went on


def test_a_job_has_only_its_workers_cores_and_gpus(graph, tmp_path, monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core can't be divided")
    monkeypatch.setattr(launchers, "machine_of", lambda worker, workers: "one Abacus")
    monkeypatch.setenv("STAND_IN_SECONDS", "0.01")
    _, jobs = prepared(graph, tmp_path)
    mine = [Worker(frozenset({cores[i]}), {"CUDA_VISIBLE_DEVICES": f"{7 + i}"}) for i in (0, 1)]
    launch(jobs, mine)
    given = {tuple(line.split()[-2:]) for line in (tmp_path / "calls").read_text().splitlines()}
    assert given == {(f"cores={cores[i]}", f"gpus={7 + i}") for i in (0, 1)}
    assert sorted(os.sched_getaffinity(0)) == cores  # the launcher keeps all of its own


def test_two_launchers_at_once_do_no_work_twice(graph, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_SECONDS", "0.005")
    layout, jobs = prepared(graph, tmp_path)
    processes = [PROCESSES.Process(target=launch, args=(jobs,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    counted = calls(tmp_path)
    assert set(counted.values()) == {1} and len(counted) == 5 + 12
    assert values(graph, layout) == values(graph, finished[0])


def test_a_stopped_launcher_stops_its_jobs_and_goes_on_later(graph, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_SECONDS", "0.2")
    _, jobs = prepared(graph, tmp_path)
    launcher = Launcher(jobs, [Worker(frozenset(os.sched_getaffinity(0)), {})])
    assert not launcher.run(lambda: launcher.stop() if calls(tmp_path) else None)
    assert states(launcher) == {State.NOT_STARTED} and len(calls(tmp_path)) == 1
    monkeypatch.setenv("STAND_IN_SECONDS", "0")
    assert states(launch(jobs)) == {State.DONE}
