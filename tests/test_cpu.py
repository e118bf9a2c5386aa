"""The settings for a CPU: put where they are missing, and understood by who reads them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dalle_jax import cpu
from tests.conftest import ROOT

LOADER = Path("/lib64/ld-linux-x86-64.so.2")


# A batch's loss and the norm of its gradient, by a program optimized as it is outside of tests. Of
# the gradient, since a flag that made vectors wider was found to break that program alone.
LOSS = """
import functools
import dalle_jax
import jax, optax, numpy as np
from dalle_jax.configs import quickstart
from dalle_jax.stages import build_stage
from tests.random_params import random_params

config = quickstart.get_config().to_dict()
stage, rng = build_stage("decoder", config), np.random.default_rng(0)
tokens = rng.integers(1, 512, (16, config["tokenizer"]["max_length"]), np.int32)
batch = {"image": rng.integers(0, 256, (16, 32, 32, 3), np.uint8), "tokens": tokens}
params = random_params(stage.init, jax.random.key(0))
gradient = jax.jit(jax.value_and_grad(functools.partial(stage.loss, train=True), has_aux=True))
(loss, _), found = gradient(params, {}, batch, jax.random.key(0))
print(float(loss), float(optax.tree.norm(found)))
"""


@pytest.fixture
def before_jax(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setattr(cpu, "flag_is_known", lambda: True)


def test_the_flag_is_added_once_and_others_stay(before_jax):
    environ = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--a=b"}
    assert cpu.configure(environ)
    assert environ["XLA_FLAGS"] == f"--a=b {cpu.CONVOLUTION_FLAG}"
    assert not cpu.configure(environ)


@pytest.mark.long  # it optimizes as programs are outside of tests: a minute of two cores
def test_the_settings_change_no_number():
    def start(**settings):
        kept = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "GLIBC_TUNABLES")}
        environ = {**kept, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **settings}
        command = [sys.executable, "-c", LOSS]
        return subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE)

    both = start(GLIBC_TUNABLES=cpu.HEAP), start(**{cpu.SWITCH: "off"})
    with_settings, without = ([*map(float, process.communicate()[0].split())] for process in both)
    assert len(without) == 2 and with_settings == pytest.approx(without, rel=1e-3)


@pytest.mark.parametrize("environ", [{"JAX_PLATFORMS": "cuda"}, {cpu.SWITCH: "off"}])
def test_an_accelerator_and_the_switch_leave_everything_as_it_is(before_jax, environ, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it was started anew"))
    before = dict(environ)
    assert not cpu.configure(environ)
    cpu.restart_with_heap(environ)
    assert environ == before


@pytest.mark.parametrize(
    "files, expected",
    [
        ((), True),
        (("nvidiactl", "nvidia-uvm", "null"), True),  # the driver's own, and no device
        (("nvidia0",), False),
        (("nvidia3",), False),
        (("nvidia12",), False),
        (("dxg",), False),
        (("vfio/0",), False),
        (("vfio/vfio",), True),
    ],
)
def test_an_accelerator_is_known_by_its_device_files(tmp_path, files, expected):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert cpu.on_cpu({}, tmp_path) == expected
    assert cpu.on_cpu({"JAX_PLATFORMS": "cpu"}, tmp_path)
    assert not cpu.on_cpu({"JAX_PLATFORMS": "cuda,cpu"}, tmp_path)


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


def test_what_a_processor_computes_with_is_told():
    assert cpu.vectors("flags\t\t: fpu sse2 avx2 avx512f avx512bw") == "with AVX-512"
    assert cpu.vectors("flags\t\t: fpu sse2 avx avx2") == "without AVX-512"
    assert cpu.vectors("") == ""
    assert cpu.vectors() in ("with AVX-512", "without AVX-512", "")
