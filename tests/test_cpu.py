"""The settings for a CPU: put where they are missing, and understood by who reads them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dalle_jax import cpu

LOADER = Path("/lib64/ld-linux-x86-64.so.2")


@pytest.fixture
def before_jax(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(cpu, "_flags_are_known", lambda: True)


def test_missing_flags_are_added_and_others_stay(before_jax):
    environ = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_prefer_vector_width=256 --a=b"}
    assert cpu.configure(environ)
    own, other, added = environ["XLA_FLAGS"].split()
    assert (own, other) == ("--xla_cpu_prefer_vector_width=256", "--a=b")
    assert added == "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
    assert not cpu.configure(environ)


@pytest.mark.parametrize("environ", [{"JAX_PLATFORMS": "cuda"}, {cpu.SWITCH: "off"}])
def test_an_accelerator_and_the_switch_leave_everything_as_it_is(before_jax, environ, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it was started anew"))
    before = dict(environ)
    assert not cpu.configure(environ)
    cpu.restart_with_heap(environ)
    assert environ == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_a_program_is_started_anew_once_with_the_heap(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda path, argv, environ: started.append(environ))
    environ = {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.check=0"}
    cpu.restart_with_heap(environ)
    (there,) = started
    assert there["GLIBC_TUNABLES"] == f"glibc.malloc.check=0:{cpu.HEAP}"
    cpu.restart_with_heap(there)
    assert len(started) == 1


@pytest.mark.skipif(not LOADER.exists(), reason=f"no {LOADER} to ask")
def test_the_c_library_understands_the_heap():
    environ = {"GLIBC_TUNABLES": cpu.HEAP}
    command = [LOADER, "--list-tunables"]
    told = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    values = dict(line.split(" (")[0].split(": ") for line in told.splitlines() if ": " in line)
    for setting in cpu.HEAP.split(":"):
        name, value = setting.split("=")
        assert int(values[name], 0) == int(value)
