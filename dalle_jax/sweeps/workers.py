"""Workers: the cores and GPUs of a machine, divided among jobs that run at a time."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Worker:
    """What one job may use.

    Attributes:
        cores: numbers of CPU cores.
        environment: variables that its processes get besides the launcher's.
    """

    cores: frozenset[int]
    environment: Mapping[str, str]


def divide(count: int, *, share: bool = False) -> list[Worker]:
    """Divide this machine's cores and GPUs among `count` workers.

    With `share` several workers may have the same core or GPU, each with a part of its memory.

    Raises:
        ValueError: there are more workers than cores or GPUs, and they are not to be shared.
    """
    cores, gpus = sorted(os.sched_getaffinity(0)), visible_gpus()
    if count < 1:
        raise ValueError(f"{count} workers do no work; give at least 1")
    for devices, name in ((gpus, "GPU"), (cores, "core")):
        if devices and count > len(devices) and not share:
            raise ValueError(
                f"{count} workers and {len(devices)} {name}{'s' * (len(devices) > 1)}: give at "
                f"most {len(devices)} workers, or --share if they shall run on the same devices"
            )
    workers = []
    for i in range(count):
        environment = {}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(_part(gpus, i, count))
            on_one = -(-count // len(gpus))
            if on_one > 1:
                environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / on_one:.3f}"
        workers.append(Worker(frozenset(_part(cores, i, count)), environment))
    return workers


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that a process with these variables may use, as CUDA_VISIBLE_DEVICES names them."""
    if environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
        return []
    if (named := environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    numbers = (path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted((number for number in numbers if number.isdecimal()), key=int)


def _part(devices: Sequence, i: int, count: int) -> list:
    """The i-th of `count` parts; of fewer devices than parts, one that others have as well."""
    if count > len(devices):
        return [devices[i % len(devices)]]
    return list(devices[i * len(devices) // count : (i + 1) * len(devices) // count])
