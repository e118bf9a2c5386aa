"""The Slurm backend: an array of tasks that each walk the sweep, sharing its work by the locks.

So nothing has to be told which job is whose: a task takes what is ready and not locked, on the
node, cores and GPUs that Slurm gave it, and one that is preempted leaves its job, whose checkpoint
another goes on from.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# By one of these Slurm, as submitit asks it to, tells of the end of a task's time. They go to every
# process of the task, and end those that do not expect them.
USER_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)

# Exit code (EX_TEMPFAIL) of a sweep whose --max-hours are over: the same command goes on.
TIME_OVER = 75

TIME = 24 * 60  # minutes that a task has where it is not told how many; submitit's own are 5
# Times that a task whose time is over is put into the queue again: as good as always, since it goes
# on from its checkpoint.
MAX_REQUEUES = 10**6


class Task:
    """What one task of the array does; submitit calls it on the node.

    The end of the task's time is told to it by a signal, and reaches the training as SIGTERM: it
    saves a checkpoint and ends, and the task is put into the queue again. A preemption is told to
    all of its processes by SIGTERM, and Slurm itself puts the task into the queue again.
    """

    def __init__(self, command: Sequence[str]):
        self.command = list(command)
        self._process: subprocess.Popen | None = None
        self._terminated = False

    def __call__(self) -> int:
        """Walk the sweep; returns the exit code, 0 or `TIME_OVER`.

        Raises:
            RuntimeError: it ended with another, so that the task is to count as failed: by its
                result alone submitit would take it for completed.
        """
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            self._process = subprocess.Popen(self.command, preexec_fn=_ignore_user_signals)
            code = self._process.wait()
            # What ends by itself counts as completed and is not put into the queue again; whether
            # it is to be, as preempted, or not, as cancelled, Slurm knows.
            while self._terminated:
                time.sleep(1)
            if code not in (0, TIME_OVER):
                raise RuntimeError(
                    f"the sweep ended with exit code {code}; what it said before tells why, and "
                    "the same command goes on"
                )
            return code
        finally:
            signal.signal(signal.SIGTERM, before)

    def _note(self, number: int, frame: Any) -> None:
        """The command has had the signal too."""
        self._terminated = True

    def checkpoint(self) -> Any:
        """Called by submitit when the task is to end: what to submit in its place."""
        from submitit.helpers import DelayedSubmission

        # This comes as a signal in the midst of `wait` above, which must not be entered again.
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGTERM)
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Task(self.command))


def submit(
    command: Sequence[str], count: int, folder: Path, resources: Mapping[str, Any]
) -> list[str]:
    """Submit an array of `count` tasks of one command; returns their ids.

    Args:
        command: `dalle-jax sweep …` of the local backend.
        count: of tasks; 1 or more.
        folder: on a file system that all nodes see; gets submitit's files and the tasks' logs.
        resources: parameters of submitit's Slurm executor without their prefix, as
            {"partition": "gpu", "gpus_per_node": 1, "time": 600}; without a time it is `TIME`.

    Raises:
        ImportError: submitit is not installed.
        FileNotFoundError: there is no Slurm here.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError(
            "the Slurm backend needs submitit; install it with `pip install dalle-jax[slurm]`"
        ) from error
    if shutil.which("sbatch") is None:
        raise FileNotFoundError(
            "there is no Slurm on this machine (sbatch is not in PATH); submit from a login node, "
            "or take --backend=local"
        )
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=MAX_REQUEUES)
    further = {"requeue": True, **resources.get("additional_parameters", {})}
    named = {"job_name": "dalle-jax-sweep", "time": TIME, **resources}
    executor.update_parameters(**{**named, "additional_parameters": further})
    with executor.batch():
        jobs = [executor.submit(Task(command)) for _ in range(count)]
    return [job.job_id for job in jobs]


def _ignore_user_signals() -> None:
    for number in USER_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
