"""Eight virtual CPU devices and strict shapes for every test; a tiny trained system for some."""

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
# Seconds after which what a test waits for counts as hung, on however busy a machine.
PATIENCE = 600

# Nearly all the time of these tests is compilation of programs that run once, on tiny arrays: the
# compiler is to hurry, and what one process has compiled the others take from the disk. XLA aborts
# at a flag that it does not know.
QUICK = "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".pytest_cache/xla")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["XLA_FLAGS"] = f"{QUICK} --xla_force_host_platform_device_count=8"

import jax  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
# An example may take as long as a busy machine needs.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """A process that holds thousands of compiled programs runs out of memory maps and dies."""
    yield
    jax.clear_caches()


@pytest.fixture
def one_device(monkeypatch):
    """For a verb called within the tests' process: a program of one device compiles sooner."""
    devices = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda: devices)


# Settings of configs/tiny.py for tests of a verb to which the network is nothing: half to compile.
SMALLER = [
    f"--config.decoder.{setting}"
    for setting in ("model.unet.channel_mult=(1,)", "model.unet.attention_resolutions=()")
]


# For the verbs as a person runs them: in a process of its own, on one device.
ONE_DEVICE = {
    **os.environ,
    "XLA_FLAGS": QUICK,
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
}


def made_once(tmp_path_factory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder filled by `make`, by whichever of the tests' processes wants it first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed half way
            make(folder)
            done.touch()
    return folder


def own_copy(tmp_path_factory, folder: Path) -> Path:
    """For tests that write into it: of the other process's tests nothing is to be seen."""
    return shutil.copytree(folder, tmp_path_factory.mktemp("runs") / folder.name)


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory) -> Path:
    """A data_dir with a small captioned_shapes/easy of 24 px."""
    from dalle_jax.data.shapes import builder

    sizes = {"train": 400, "validation": 40, "test": 40, "test_novel": 16}
    make = functools.partial(builder.prepare, config="easy", resolution=24, split_sizes=sizes)
    return made_once(tmp_path_factory, "data", make)


@pytest.fixture(scope="session")
def tiny_workdir(tmp_path_factory, shapes_dir) -> Path:
    """What `dalle-jax train --config=configs/tiny.py` leaves behind."""
    make = functools.partial(train, "configs/tiny.py", data_dir=shapes_dir)
    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "tiny", make))


@pytest.fixture(scope="session")
def tiny_unclip_workdir(tmp_path_factory, shapes_dir) -> Path:
    """What `dalle-jax train --config=configs/unclip_tiny.py` leaves behind: all five stages."""
    make = functools.partial(train, "configs/unclip_tiny.py", data_dir=shapes_dir)
    return own_copy(tmp_path_factory, made_once(tmp_path_factory, "unclip", make))


def train(config: str, workdir: Path, data_dir: Path, *options: str) -> None:
    """Train as a person does."""
    subprocess.run(
        [
            *(sys.executable, "-m", "dalle_jax", "train"),
            f"--config={ROOT / config}",
            f"--workdir={workdir}",
            f"--config.data.dir={data_dir}",
            *options,
        ],
        check=True,
        env=ONE_DEVICE,
    )
