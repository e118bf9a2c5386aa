"""What computes, in words."""

import os
import subprocess
from types import SimpleNamespace

import jax
import pytest

from dalle_jax import cpu
from dalle_jax.sweeps import machine as of
from dalle_jax.sweeps.workers import Worker


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """What another process is asked for the GPUs' kinds, and answers; this one has four cores."""
    asked = []

    def answer(command, env, **options):
        asked.append((env["CUDA_VISIBLE_DEVICES"], env["XLA_PYTHON_CLIENT_PREALLOCATE"]))
        return SimpleNamespace(
            stdout="NVIDIA Abacus\n" * len(env["CUDA_VISIBLE_DEVICES"].split(","))
        )

    of._gpu_kinds.cache_clear()
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(cpu, "vectors", lambda: "with AVX-512")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    yield asked
    of._gpu_kinds.cache_clear()


def test_without_gpus_it_is_the_cores_that_a_job_has(asked, monkeypatch):
    assert of.machine_of(Worker(frozenset({5, 6}), {})) == "two CPU cores with AVX-512"
    beside = of.machine_of(Worker(frozenset({5}), {}), workers=2)
    assert beside == "one CPU core with AVX-512, two jobs at a time"
    assert not asked
    assert of.in_words(1) == "one CPU core with AVX-512"
    assert of.in_words(12) == "12 CPU cores with AVX-512"


def test_the_kinds_of_gpus_are_asked_for_once_and_take_no_memory(asked):
    for _ in range(2):
        for gpus, words in (("3", "one NVIDIA Abacus"), ("0,1", "two × NVIDIA Abacus")):
            worker = Worker(frozenset({0}), {"CUDA_VISIBLE_DEVICES": gpus})
            assert of.machine_of(worker) == words
    assert asked == [("3", "false"), ("0,1", "false")]
    assert of.in_words(4, ("A", "B", "A")) == "two × A, one × B"


def test_a_process_that_leaves_the_gpus_to_its_jobs_is_on_theirs(asked, monkeypatch):
    assert of.own_machine() == "four CPU cores with AVX-512"  # this one's, as jax says
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", "cpu")
    try:
        assert of.own_machine() == "one NVIDIA Abacus"
    finally:
        jax.config.update("jax_platforms", before)
