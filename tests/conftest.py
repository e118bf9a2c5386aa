"""Eight virtual CPU devices and strict shapes for every test; a tiny trained system for some."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Nearly all the time of these tests is compilation of programs that run once, on tiny arrays.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import subprocess
import sys
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """A process that holds thousands of compiled programs runs out of memory maps and dies."""
    yield
    jax.clear_caches()


# For the verbs as a person runs them: in a process of its own, on one device. These processes
# compile the same few programs, so they share what is compiled.
ONE_DEVICE = {
    **os.environ,
    "XLA_FLAGS": "",
    "PYTHONPATH": str(ROOT),
    "PYTHONUNBUFFERED": "1",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache/xla"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory) -> Path:
    """A data_dir with a small captioned_shapes/easy of 24 px."""
    from dalle_jax.data.shapes import builder

    data_dir = tmp_path_factory.mktemp("data")
    sizes = {"train": 400, "validation": 40, "test": 40, "test_novel": 16}
    builder.prepare(data_dir, "easy", 24, split_sizes=sizes)
    return data_dir


@pytest.fixture(scope="session")
def tiny_workdir(tmp_path_factory, shapes_dir) -> Path:
    """What `dalle-jax train --config=configs/tiny.py` leaves behind."""
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    train("configs/tiny.py", workdir, shapes_dir)
    return workdir


@pytest.fixture(scope="session")
def tiny_unclip_workdir(tmp_path_factory, shapes_dir) -> Path:
    """What `dalle-jax train --config=configs/unclip_tiny.py` leaves behind: all five stages."""
    workdir = tmp_path_factory.mktemp("runs") / "unclip"
    train("configs/unclip_tiny.py", workdir, shapes_dir)
    return workdir


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
