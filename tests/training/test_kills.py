"""Killed again and again, and going on elsewhere: minutes, so only with `-m long`."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dalle_jax.training.checkpoint import load_params, steps_in
from tests.conftest import PATIENCE, ROOT
from tests.training.started import assert_equal, lines, start
from tests.training.tiny import SlowStage, fit_tiny

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    return run_dir, fit_tiny(run_dir, stage=SlowStage(lambda: None))


def wait_until(condition, processes):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def moment(path):
    """("read" or "step", number of the batch), as the process says."""
    text = path.read_text().split() if path.exists() else []
    return (text[0], int(text[1])) if len(text) == 2 else ("", 0)


def being_saved(run_dir):
    return list((run_dir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def kill(process, place, said, run_dir, draw):
    """Kill a process when it is at a place, or anywhere."""
    if place == "save":
        wait_until(lambda: being_saved(run_dir), [process])
    elif place == "anywhere":
        time.sleep(draw.uniform(0, 0.3))
    else:
        time.sleep(draw.uniform(0, 0.03))
        wait_until(lambda: moment(said)[0] == place, [process])
    process.kill()
    process.communicate(timeout=60)


def run_to(step, run_dir, said, **environment):
    process = start(run_dir, MOMENT=str(said), **environment)
    wait_until(lambda: moment(said)[1] >= step, [process])
    return process


def test_ten_kills_at_random_moments_change_no_bit(uninterrupted, tmp_path):
    draw = random.Random(0)
    places, run_dir, log = ["read", "step", "save"] * 3 + ["anywhere"], tmp_path / "run", []
    for i, place in enumerate(places):
        said = tmp_path / f"moment_{i}"
        process = run_to(2 * i + draw.randint(1, 2), run_dir, said, SLOW="0.05")
        kill(process, place, said, run_dir, draw)
        log.append((place, *moment(said), len(being_saved(run_dir))))
    print(*log, sep="\n")
    # They died where they were to: in reading, in a step (but for one that was quicker than the
    # signal), and with half a checkpoint on disk.
    died = [half and "save" if place == "save" else where for place, where, _, half in log]
    for place in ("read", "step", "save"):
        assert sum(d == p == place for d, p in zip(died, places)) >= 2
    process = start(run_dir)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    whole_dir, state = uninterrupted
    assert_equal(load_params(run_dir / "checkpoints"), state.ema_params)
    assert_equal(load_params(run_dir / "checkpoints", weights="raw"), jax.device_get(state.params))
    for name in ("loss", "validation/loss"):
        there, here = (
            [line["step"] for line in lines(d) if name in line] for d in (whole_dir, run_dir)
        )
        assert there == here
    assert not list(run_dir.glob("checkpoints/damaged*"))


def test_a_decoder_killed_by_the_clock_ends_as_if_it_never_was(tmp_path, shapes_dir):
    """The verb as it is typed: U-Net, Muon, data set, previews."""
    draw, environ = random.Random(1), {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla")}

    def train(workdir):
        command = f"{sys.executable} -m dalle_jax train --config=configs/tiny.py".split()
        settings = {"data.dir": shapes_dir, "decoder.train.steps": 600}
        settings |= {"decoder.train.checkpoint_every": 20, "decoder.train.preview_every": 250}
        command += [f"--workdir={tmp_path / workdir}"]
        return subprocess.Popen(
            command + [f"--config.{name}={value}" for name, value in settings.items()],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def newest(checkpoints):
        return max(steps_in(checkpoints), default=0) if checkpoints.exists() else 0

    whole = train("whole")
    assert whole.wait(PATIENCE) == 0, whole.stderr.read()
    checkpoints, reached = tmp_path / "killed/decoder/checkpoints", []
    for _ in range(10):
        process, before = train("killed"), newest(checkpoints)
        wait_until(lambda before=before: newest(checkpoints) > before, [process])
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=60)
        reached.append(newest(checkpoints))
    print(reached)
    assert reached[-1] < 600
    process = train("killed")
    assert process.wait(PATIENCE) == 0, process.stderr.read()
    for weights in ("ema", "raw"):
        there, here = (
            load_params(tmp_path / workdir / "decoder/checkpoints", weights=weights)
            for workdir in ("whole", "killed")
        )
        assert_equal(here, there)


def close(run_dir, state):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=2e-5),
        load_params(run_dir / "checkpoints", weights="raw"),
        state.params,
    )


def devices(count):
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def start_two(run_dir, **environment):
    """Two processes of four devices each."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    return [
        start(run_dir, COORDINATOR=f"{address} {own} 2", **devices(4), **environment)
        for own in range(2)
    ]


@pytest.mark.parametrize("then", ["four devices", "two processes"])
def test_killed_on_eight_devices_it_goes_on_elsewhere(uninterrupted, tmp_path, then):
    run_dir = tmp_path / "run"
    process = run_to(12, run_dir, tmp_path / "moment", SLOW="0.05")
    process.kill()
    process.communicate(timeout=60)
    saved, taken = steps_in(run_dir / "checkpoints")[-1], tmp_path / "taken"
    assert 0 < saved < 24
    count = 1 if then == "four devices" else 2
    processes = (
        [start(run_dir, TAKEN=str(taken), **devices(4))]
        if count == 1
        else start_two(run_dir, TAKEN=str(taken))
    )
    for process in processes:
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    close(run_dir, uninterrupted[1])
    assert [x["step"] for x in lines(run_dir) if "loss" in x] == [4, 8, 12, 16, 20, 24]
    # After the batches that the checkpoint has come all others, each once (a process its share).
    batches = sorted(map(int, taken.read_text().split()))
    assert batches == [k for k in range(saved, 24) for _ in range(count)]


@pytest.mark.parametrize("place", ["step", "save"])
def test_one_of_two_is_terminated_and_both_stop_at_one_step(uninterrupted, tmp_path, place):
    # The service looks each second for a signal: a step lasts longer than that.
    processes = run_two_to(8, tmp_path, pause="0.2" if place == "step" else "1.5")
    if place == "save":
        wait_until(lambda: being_saved(tmp_path), processes)
    os.kill(processes[1].pid, signal.SIGTERM)
    # The grace that launch/slurm.sbatch and launch/jobset.yaml ask for.
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], told
    step = steps_in(tmp_path / "checkpoints")[-1]
    assert all(f"the same command continues from step {step}" in text for text in told)
    process = start(tmp_path)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    close(tmp_path, uninterrupted[1])


def test_terminated_before_its_first_step_a_run_that_goes_on_stops_after_it(tmp_path):
    processes = run_two_to(8, tmp_path)
    processes[0].send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE) for process in processes] == [143, 143]
    step = steps_in(tmp_path / "checkpoints")[-1]
    said = tmp_path / "moment"
    processes = start_two(tmp_path, SLOW="2", MOMENT=str(said))
    wait_until(lambda: moment(said) == ("read", step), processes)
    processes[1].send_signal(signal.SIGTERM)
    assert [process.wait(PATIENCE) for process in processes] == [143, 143]
    assert steps_in(tmp_path / "checkpoints")[-1] == step + 1


def run_two_to(step, run_dir, pause="0.2"):
    processes, log = start_two(run_dir, SLOW=pause), run_dir / "metrics.jsonl"
    wait_until(lambda: log.exists() and f'"step": {step},' in log.read_text(), processes)
    return processes
