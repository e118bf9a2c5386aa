"""Several processes train as one does; each knows its place."""

import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from dalle_jax.train.distributed import Place, find_place
from tests.conftest import ONE_DEVICE, ROOT
from tests.train.processes import train


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(run_dir, count: int, *more: str) -> list[subprocess.Popen]:
    run_dir.mkdir(exist_ok=True)
    port = str(free_port())
    command = [sys.executable, "-m", "tests.train.processes", port, str(count)]
    return [
        subprocess.Popen(
            [*command, str(own), str(run_dir), *more],
            cwd=ROOT,
            env=ONE_DEVICE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in range(count)
    ]


def losses(run_dir) -> list[float]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def check(tmp_path, count: int) -> None:
    processes = start(tmp_path / "many", count)
    state = train(tmp_path / "one", 0, 1, mesh={"data": -1})
    for process in processes:
        _, told = process.communicate(timeout=250)
        assert process.returncode == 0, told
    turns = (tmp_path / "many/turns").read_text().split()
    assert turns[0] == "0" and sorted(map(int, turns)) == list(range(count))
    # Written by one of them: each step once.
    np.testing.assert_allclose(losses(tmp_path / "many"), losses(tmp_path / "one"), rtol=2e-5)
    for own in range(count):
        there = np.load(tmp_path / f"many/params_{own}.npz")
        for i, leaf in enumerate(jax.tree.leaves(state.params)):
            np.testing.assert_allclose(there[str(i)], leaf, rtol=2e-5, atol=2e-6)
    assert sorted(os.listdir(tmp_path / "many/checkpoints")) == ["3", "6"]


def test_two_processes_train_as_one(tmp_path):
    check(tmp_path, 2)


@pytest.mark.long
def test_four_processes_train_as_one(tmp_path):
    check(tmp_path, 4)


def test_a_process_knows_its_place():
    assert find_place(environ={}) is None
    assert find_place("host:1", 2, 0, {}) == Place("host:1", 2, 0)
    jobset = {
        "JAX_COORDINATOR_ADDRESS": "train-0.train:1234",
        "JAX_NUM_PROCESSES": "4",
        "JOB_COMPLETION_INDEX": "3",
    }
    assert find_place(environ=jobset) == Place("train-0.train:1234", 4, 3)
    assert find_place(environ={**jobset, "JAX_PROCESS_ID": "1"}) == Place(
        "train-0.train:1234", 4, 1
    )
    slurm = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_NTASKS": "8"}
    assert find_place(environ=slurm) == Place()
    assert find_place(environ={**slurm, "SLURM_NTASKS": "1"}) is None
    with pytest.raises(ValueError, match="some are missing"):
        find_place("host:1", None, 0, {})
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES or JAX_PROCESS_ID"):
        find_place(environ={"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_PROCESS_ID": "1"})
