"""How a machine's cores and GPUs are divided among workers."""

import os
from collections import Counter

import pytest

from dalle_jax.sweeps.workers import divide


@pytest.fixture
def machine(monkeypatch):
    def of(cores: int, gpus: str | None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus or "")

    return of


def test_no_core_and_no_gpu_is_in_two_workers_hands(machine):
    machine(10, "3,5,7,GPU-abc")
    workers = divide(3)
    gpus = [w.environment["CUDA_VISIBLE_DEVICES"].split(",") for w in workers]
    assert Counter(core for w in workers for core in w.cores) == Counter(range(10))
    assert sorted(gpu for names in gpus for gpu in names) == ["3", "5", "7", "GPU-abc"]
    assert all(w.cores for w in workers) and all(gpus)
    assert all("XLA_PYTHON_CLIENT_MEM_FRACTION" not in w.environment for w in workers)


def test_a_machine_without_gpus_divides_its_cores(machine):
    machine(4, None)
    assert [sorted(w.cores) for w in divide(2)] == [[0, 1], [2, 3]]
    assert all(w.environment == {} for w in divide(2))


def test_devices_are_shared_only_where_that_is_asked_for(machine):
    machine(8, "0,1")
    with pytest.raises(ValueError, match=r"3 workers and 2 GPUs: .* --share"):
        divide(3)
    shared = [w.environment for w in divide(3, share=True)]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in shared] == ["0", "1", "0"]
    # Two on one GPU have to fit into it together.
    assert all(float(e["XLA_PYTHON_CLIENT_MEM_FRACTION"]) <= 0.5 for e in shared)
    machine(1, None)
    with pytest.raises(ValueError, match=r"2 workers and 1 core: "):
        divide(2)
    with pytest.raises(ValueError, match=r"at least 1"):
        divide(0)
