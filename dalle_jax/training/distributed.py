"""Joining the other processes of a training, and what they do one after the other."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from dalle_jax.files import Lock, holder

# Seconds without a sign after which a process is taken for dead, and the others end.
HEARTBEAT_TIMEOUT = 60
# Seconds that an ending process waits for the others to end too.
SHUTDOWN_TIMEOUT = 60


class ProcessAddress(NamedTuple):
    """Which process this is; None is for jax to find out from the cluster."""

    coordinator: str | None = None  # HOST:PORT of process 0
    num_processes: int | None = None
    process_id: int | None = None


def find_address(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> ProcessAddress | None:
    """Which of several processes this is, by the arguments or the environment; None for only one.

    Looked for, the first that is there:
      the arguments, all three;
      JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or instead of the last
        JOB_COMPLETION_INDEX, which Kubernetes gives to the pods of an indexed Job and of a JobSet;
      a Slurm step of more than one task, and a TPU: what jax makes of their own variables.

    Raises:
        ValueError: some of what belongs together is missing.
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given):
        if any(value is None for value in given):
            raise ValueError(
                "of --coordinator, --num_processes and --process_id some are missing; give all "
                "three, or none where Slurm, Kubernetes or a TPU pod sets them"
            )
        return ProcessAddress(*given)
    if address := environ.get("JAX_COORDINATOR_ADDRESS"):
        index = environ.get("JAX_PROCESS_ID", environ.get("JOB_COMPLETION_INDEX"))
        count = environ.get("JAX_NUM_PROCESSES")
        if index is None or count is None:
            raise ValueError(
                f"JAX_COORDINATOR_ADDRESS is {address!r}, but JAX_NUM_PROCESSES or JAX_PROCESS_ID "
                "(in an indexed Job: JOB_COMPLETION_INDEX) is not set; set them, or unset it"
            )
        return ProcessAddress(address, int(count), int(index))
    if "SLURM_STEP_NODELIST" in environ and int(environ.get("SLURM_NTASKS", "1")) > 1:
        return ProcessAddress()
    return ProcessAddress() if _on_tpu(environ) else None


def _on_tpu(environ: Mapping[str, str]) -> bool:
    if environ.get("JAX_PLATFORMS", "tpu").split(",")[0] != "tpu" or not find_spec("libtpu"):
        return False
    return any(Path(device).exists() for device in ("/dev/accel0", "/dev/vfio/0"))


def join(address: ProcessAddress | None) -> None:
    """Meet the other processes; to be called before anything is computed. None: there are none.

    Raises:
        ValueError: the numbers are none of a process among others.
        OSError: the others were not there within five minutes.
    """
    if address is None:
        return
    count, index = address.num_processes, address.process_id
    if count is not None and index is not None and not 0 <= index < count:
        raise ValueError(
            f"process_id is {index}, but {count} processes are numbered 0 … {count - 1}"
        )
    try:
        jax.distributed.initialize(
            *address,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
        )
    except RuntimeError as error:
        raise OSError(
            f"process {index} of {count} did not meet the others at {address.coordinator} "
            f"({str(error)[:200]}); look whether all are started and whether that port is open"
        ) from error
    # jax's last words, where that process dies, name it so and not by its number.
    print(
        f"process {jax.process_index()} of {jax.process_count()} has met the others; "
        "process 0 is their leader task",
        file=sys.stderr,
        flush=True,
    )


@contextmanager
def in_turn(what: str) -> Iterator[None]:
    """Process 0 does what is inside, then all others: for files that the first makes for all."""
    first = jax.process_index() == 0
    if not first:
        _meet(what)
    try:
        yield
    finally:
        if first:
            _meet(what)


def as_first(answer: bool) -> bool:
    """What process 0 answers, so that all go the same way; the answers of others do not count."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.int32(answer)))


@contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run directory; of several processes that train together, the first does.

    The system gives it up when the process ends, however that ends. Where the file system has no
    locks there is a warning, and training goes on.

    Raises:
        ValueError: another training holds it; host and process are named.
    """
    path = run_dir / "lock"
    lock = Lock.take(path) if jax.process_index() == 0 else None
    if not as_first(lock is not None):
        raise ValueError(
            f"{run_dir} is being trained by {holder(path) or 'another process'}; wait for its "
            "end, stop it, or give another --workdir"
        )
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def naming_the_dead() -> Iterator[None]:
    """Inside, a failed exchange with other processes waits until jax knows which of them is dead.

    It then ends this process and says so on stderr. A failure of another kind is raised as it is.

    Raises:
        OSError: all others live.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        index = jax.process_index()
        text = str(error)[:200]
        print(
            f"process {index}: a step failed ({text}); waiting {HEARTBEAT_TIMEOUT} s to hear which "
            "process is gone",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(1.5 * HEARTBEAT_TIMEOUT)
        raise OSError(f"a step of process {index} failed, and all others live: {text}") from error


def _meet(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
