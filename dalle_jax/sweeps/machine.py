"""A readable name of the hardware, for figures and cost tables: "two CPU cores with AVX-512"."""

import functools
import os
import subprocess
import sys
from collections.abc import Sequence

from dalle_jax import cpu
from dalle_jax.sweeps.workers import Worker, divide, visible_gpus

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")
KINDS = "import jax; [print(d.device_kind) for d in jax.devices() if d.platform != 'cpu']"


def machine_of(worker: Worker, workers: int = 1) -> str:
    """The hardware of a worker's jobs: its GPUs or cores, and how many jobs run at a time.

    The kinds of GPUs are looked up once, by another process, so that this one takes none of their
    memory.
    """
    kinds = gpu_kinds(tuple(visible_gpus({**os.environ, **worker.environment})))
    beside = f", {_number(workers)} jobs at a time" if workers > 1 else ""
    return in_words(len(worker.cores), kinds) + beside


def own_machine() -> str:
    """The hardware of this process; asks jax, which takes the accelerator if there is one."""
    import jax

    if jax.config.jax_platforms == "cpu":
        return machine_of(divide(1)[0])  # it leaves the GPUs to its jobs
    kinds = [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    return in_words(len(os.sched_getaffinity(0)), kinds)


def in_words(cores: int, gpus: Sequence[str] = ()) -> str:
    """A number of CPU cores of this machine, or GPUs of these kinds if there are any."""
    if not gpus:
        return f"{_number(cores)} CPU core{'s' * (cores > 1)} {cpu.vectors()}".strip()
    counts = {kind: gpus.count(kind) for kind in gpus}
    several = len(gpus) > 1
    return ", ".join(f"{_number(n)} {'× ' * several}{kind}" for kind, n in counts.items())


@functools.cache
def gpu_kinds(gpus: tuple[str, ...]) -> tuple[str, ...]:
    """The kind of each; none where jax can't use them."""
    if not gpus:
        return ()
    frugal = {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    asked = subprocess.run(
        [sys.executable, "-c", KINDS],
        env={**os.environ, **frugal},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return tuple(asked.stdout.split("\n")[:-1])


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)
