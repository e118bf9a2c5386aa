"""Several processes train as one does; each knows its address."""

import errno
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from dalle_jax.training import distributed
from dalle_jax.training.checkpoint import load_params, steps_in
from dalle_jax.training.distributed import ProcessAddress, exclusive, find_address
from tests.conftest import ONE_DEVICE, PATIENCE, ROOT
from tests.training.processes import Noted, train
from tests.training.test_checkpoint import flip_bit, truncate_arrays_unsealed


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(run_dir, count: int, steps: int = 6, fault: str = "") -> list[subprocess.Popen]:
    run_dir.mkdir(exist_ok=True)
    port = str(free_port())
    command = [sys.executable, "-m", "tests.training.processes", port, str(count)]
    return [
        subprocess.Popen(
            [*command, str(own), str(run_dir), str(steps), fault],
            cwd=ROOT,
            env=ONE_DEVICE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in range(count)
    ]


def losses(run_dir) -> list[float]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def end_as(state, processes, run_dir) -> None:
    for process in processes:
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, told
    for own in range(len(processes)):
        there = np.load(run_dir / f"params_{own}.npz")
        for i, leaf in enumerate(jax.tree.leaves(state.params)):
            np.testing.assert_allclose(there[str(i)], leaf, rtol=2e-5, atol=2e-6)


def check(tmp_path, count: int):
    processes = start(tmp_path / "many", count)
    state = train(tmp_path / "one", Noted(tmp_path / "read"), mesh={"data": -1})
    end_as(state, processes, tmp_path / "many")
    # Of two epochs of three batches each process read its own rows, and all together each item.
    shares = [(tmp_path / f"many/read_{own}").read_text().splitlines() for own in range(count)]
    whole = [" ".join(rows) for rows in zip(*shares, strict=True)]
    assert whole == (tmp_path / "read").read_text().splitlines() and len(whole) == 6
    for epoch in (whole[:3], whole[3:]):
        assert sorted(map(int, " ".join(epoch).split())) == list(range(48))
    turns = (tmp_path / "many/turns").read_text().split()
    assert turns[0] == "0" and sorted(map(int, turns)) == list(range(count))
    # Written by one of them: each step once.
    np.testing.assert_allclose(losses(tmp_path / "many"), losses(tmp_path / "one"), rtol=2e-5)
    assert sorted(os.listdir(tmp_path / "many/checkpoints")) == ["3", "6"]
    return state


def test_two_processes_train_as_one_and_set_a_damaged_checkpoint_aside_together(tmp_path):
    state, run_dir = check(tmp_path, 2), tmp_path / "many"
    for own in range(2):
        (run_dir / f"params_{own}.npz").unlink()
    flip_bit(run_dir / "checkpoints/6")
    end_as(state, start(run_dir, 2), run_dir)
    assert sorted(os.listdir(run_dir / "checkpoints")) == ["3", "6", "damaged_6"]


@pytest.mark.parametrize("torn_for", ["all", "one"])
def test_a_checkpoint_without_checksums_that_cannot_be_read_is_set_aside_by_all(tmp_path, torn_for):
    run_dir = tmp_path / "one"
    state = train(run_dir, Noted(tmp_path / "read"), mesh={"data": -1})
    if torn_for == "all":
        truncate_arrays_unsealed(run_dir / "checkpoints/6")
    else:
        (run_dir / "checkpoints/6/checksums.json").unlink()
    end_as(state, start(run_dir, 2, fault="read" if torn_for == "one" else ""), run_dir)
    assert sorted(os.listdir(run_dir / "checkpoints")) == ["3", "6", "damaged_6"]


def test_a_loss_of_one_that_is_not_finite_ends_both_and_each_writes_its_batch(tmp_path):
    processes = start(tmp_path, 2, 9, fault="nan")
    told = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert [process.returncode for process in processes] == [1, 1], told
    for own, text in enumerate(told):
        batch = tmp_path / f"diverged_00000005_process{own}.npz"
        assert (
            f"loss is nan at step 5; its batch is in {batch}, the checkpoint of step 3 is" in text
        )
        with np.load(batch, allow_pickle=False) as rows:
            assert rows["image"].shape == (8, 4, 4, 3) and rows["image"].any() == (own == 0)
    assert steps_in(tmp_path / "checkpoints") == [3]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("worker", r"item \d+ is on a disk that is lost"),
        ("hang", r"no batch came in 20 s: batch \d hangs at .*\d+"),
    ],
)
def test_a_data_worker_of_one_raises_or_hangs_and_both_end(tmp_path, fault, said):
    processes = start(tmp_path, 2, 1000, fault=fault)
    told = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert all(process.returncode not in (0, None) for process in processes)
    assert re.search(f"dalle-jax train: .*{said}", told[1]), told[1]
    # What was saved is whole: the command without the fault goes on from it.
    assert steps_in(tmp_path / "checkpoints") == [3]
    state = train(tmp_path / "alone", Noted(tmp_path / "read"), mesh={"data": -1})
    end_as(state, start(tmp_path, 2), tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_four_processes_train_as_one(tmp_path):
    check(tmp_path, 4)


def test_without_locks_there_is_a_warning_and_training_goes_on(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match="start no second command"), exclusive(tmp_path):
        pass


def test_a_process_finds_its_address():
    assert find_address(environ={}) is None
    assert find_address("host:1", 2, 0, {}) == ProcessAddress("host:1", 2, 0)
    jobset = {
        "JAX_COORDINATOR_ADDRESS": "train-0.train:1234",
        "JAX_NUM_PROCESSES": "4",
        "JOB_COMPLETION_INDEX": "3",
    }
    assert find_address(environ=jobset) == ProcessAddress("train-0.train:1234", 4, 3)
    assert find_address(environ={**jobset, "JAX_PROCESS_ID": "1"}) == ProcessAddress(
        "train-0.train:1234", 4, 1
    )
    slurm = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "8"}
    assert find_address(environ=slurm) == ProcessAddress()
    assert find_address(environ={**slurm, "SLURM_NTASKS": "1"}) is None
    with pytest.raises(ValueError, match="some are missing"):
        find_address("host:1", None, 0, {})
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES or JAX_PROCESS_ID"):
        find_address(environ={"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_PROCESS_ID": "1"})


def test_on_a_tpu_libtpu_finds_the_address(monkeypatch):
    monkeypatch.setattr(distributed, "find_spec", lambda name: name == "libtpu")
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/vfio/0")
    assert find_address(environ={}) == ProcessAddress()
    assert find_address(environ={"JAX_PLATFORMS": "cpu"}) is None
    monkeypatch.setattr(Path, "exists", lambda path: False)  # libtpu without a chip
    assert find_address(environ={}) is None


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_verb_in_two_processes_is_the_verb_in_one(tmp_path, shapes_dir):
    def command(workdir, *more):
        return [
            *(sys.executable, "-m", "dalle_jax", "train"),
            f"--config={ROOT / 'configs/tiny.py'}",
            f"--workdir={tmp_path / workdir}",
            f"--config.data.dir={shapes_dir}",
            "--config.decoder.train.log_every=1",
            *more,
        ]

    where = [f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
    commands = [command("many", *where, f"--process_id={own}") for own in range(2)]
    processes = [
        subprocess.Popen(c, env=ONE_DEVICE, stderr=subprocess.PIPE, text=True)
        for c in [*commands, command("one")]
    ]
    told = [process.communicate(timeout=1500)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    # Only process 0 tells how it goes.
    assert "decoder starts" in told[0] and "decoder starts" not in told[1]
    np.testing.assert_allclose(
        losses(tmp_path / "many/decoder"), losses(tmp_path / "one/decoder"), rtol=1e-3
    )
    previews = [sorted(os.listdir(tmp_path / f"{run}/decoder/samples")) for run in ("one", "many")]
    assert previews[0] == previews[1] != []
    restored = [load_params(tmp_path / f"{run}/decoder/checkpoints") for run in ("one", "many")]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), *restored)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dead", [3, 0])
def test_one_of_four_dies_the_others_end_and_four_go_on(tmp_path, dead):
    run_dir = tmp_path / "many"
    processes, read = start(run_dir, 4, 1000), run_dir / "read_3"
    deadline = time.monotonic() + PATIENCE
    while not read.exists() or len(read.read_text().splitlines()) < 8:
        assert time.monotonic() < deadline and processes[dead].poll() is None
        time.sleep(0.01)
    processes[dead].kill()
    died = time.monotonic()
    told = [process.communicate(timeout=300)[1] for process in processes]
    assert time.monotonic() - died < 120
    assert all(process.returncode not in (0, None) for process in processes)
    # jax names it by its number, or, since it holds the others together, as the leader, whose
    # number each has said when it met the others.
    named = r"stopped sending heartbeats\):\s+3\b" if dead else r"leader task was .*died"
    for text in told[:dead] + told[dead + 1 :]:
        assert re.search(named, text), text
        assert dead or "of 4 has met the others; process 0 is their leader task" in text, text
    # What was saved before is whole, and they go on with it.
    last = steps_in(run_dir / "checkpoints")[-1] + 3
    state = train(tmp_path / "one", Noted(tmp_path / "read"), mesh={"data": -1}, steps=last)
    end_as(state, start(run_dir, 4, last), run_dir)
