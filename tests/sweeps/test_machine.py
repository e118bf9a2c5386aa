"""The machine of a sweep: its name, its rate, and its cores and GPUs divided among workers."""

import json
import os
import subprocess
from collections import Counter
from types import SimpleNamespace

import jax
import pytest

from dalle_jax import cpu
from dalle_jax.sweeps import machine_rate
from dalle_jax.sweeps.machine import gpu_kinds, in_words, machine_of, own_machine
from dalle_jax.sweeps.machine_rate import SHARE_IN_TRAINING, guessed_rate, matrix_product_rate
from dalle_jax.sweeps.workers import Worker, divide


@pytest.fixture
def machine(monkeypatch):
    """Makes this a machine with so many cores and with GPUs."""

    def of(cores: int, gpus: str = ""):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
        monkeypatch.setattr(cpu, "vectors", lambda: "with AVX-512")
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)

    return of


@pytest.fixture
def asked(monkeypatch):
    """What another process is asked for the kinds of GPUs; it answers "NVIDIA Abacus" for each."""
    asked = []

    def answer(command, env, **options):
        asked.append((env["CUDA_VISIBLE_DEVICES"], env["XLA_PYTHON_CLIENT_PREALLOCATE"]))
        return SimpleNamespace(stdout="NVIDIA Abacus\n" * len(asked[-1][0].split(",")))

    monkeypatch.setattr(subprocess, "run", answer)
    gpu_kinds.cache_clear()
    yield asked
    gpu_kinds.cache_clear()


def test_without_gpus_it_is_the_cores_that_a_job_has(machine, asked):
    machine(4)
    assert machine_of(Worker(frozenset({5, 6}), {})) == "two CPU cores with AVX-512"
    beside = machine_of(Worker(frozenset({5}), {}), workers=2)
    assert beside == "one CPU core with AVX-512, two jobs at a time"
    assert not asked and in_words(12) == "12 CPU cores with AVX-512"


def test_the_kinds_of_gpus_are_asked_for_once_and_take_no_memory(machine, asked):
    machine(4)
    for _ in range(2):
        for gpus, words in (("3", "one NVIDIA Abacus"), ("0,1", "two × NVIDIA Abacus")):
            assert machine_of(Worker(frozenset({0}), {"CUDA_VISIBLE_DEVICES": gpus})) == words
    assert asked == [("3", "false"), ("0,1", "false")]
    assert in_words(4, ("A", "B", "A")) == "two × A, one × B"


def test_a_process_that_leaves_the_gpus_to_its_jobs_is_on_theirs(machine, asked, monkeypatch):
    machine(4)
    assert own_machine() == "four CPU cores with AVX-512"  # this one's, as jax says
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "cpu")
    try:
        assert own_machine() == "one NVIDIA Abacus"
    finally:
        jax.config.update("jax_platforms", before)


def test_no_core_and_no_gpu_is_in_two_workers_hands(machine):
    machine(10, "3,5,7,GPU-abc")
    workers = divide(3)
    gpus = [w.environment["CUDA_VISIBLE_DEVICES"].split(",") for w in workers]
    assert Counter(core for w in workers for core in w.cores) == Counter(range(10))
    assert sorted(gpu for names in gpus for gpu in names) == ["3", "5", "7", "GPU-abc"]
    assert all(w.cores for w in workers) and all(gpus)
    assert all("XLA_PYTHON_CLIENT_MEM_FRACTION" not in w.environment for w in workers)
    machine(4)
    assert [(sorted(w.cores), w.environment) for w in divide(2)] == [([0, 1], {}), ([2, 3], {})]


def test_devices_are_shared_only_where_that_is_asked_for(machine):
    machine(8, "0,1")
    with pytest.raises(ValueError, match=r"3 workers and 2 GPUs: .* --share"):
        divide(3)
    shared = [w.environment for w in divide(3, share=True)]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in shared] == ["0", "1", "0"]
    # Two on one GPU have to fit into it together.
    assert all(float(e["XLA_PYTHON_CLIENT_MEM_FRACTION"]) <= 0.5 for e in shared)
    machine(1)
    for count, message in ((2, r"2 workers and 1 core: "), (0, "at least 1")):
        with pytest.raises(ValueError, match=message):
            divide(count)


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"abacus": "fast"}', '{"abacus": -1}', "null", ""]
)
def test_the_rate_of_a_machine_is_measured_once_and_stored(tmp_path, monkeypatch, content):
    measured, cache = [], tmp_path / "rates.json"
    monkeypatch.setattr(machine_rate, "matrix_product_rate", lambda: measured.append(1) or 100e9)
    if content is not None:  # a damaged file counts as none
        cache.write_text(content)
    for cores in (2, 1):
        rate = guessed_rate(cores, "abacus", cache)
        assert rate == pytest.approx(cores * SHARE_IN_TRAINING * 100e9)
    assert len(measured) == 1
    guessed_rate(1, "another", cache)
    assert len(measured) == 2 and set(json.loads(cache.read_text())) == {"abacus", "another"}


def test_a_measurement_is_a_rate_that_a_computer_can_have_and_comes_out_again():
    rates = [matrix_product_rate() for _ in range(5)]
    assert min(rates) > 1e6 and max(rates) < 1e15
    assert max(rates) < 2 * min(rates)
