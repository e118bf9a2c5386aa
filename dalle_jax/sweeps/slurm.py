"""The Slurm backend: an array of tasks that each run the sweep, sharing its work by the locks.

No task is assigned jobs: it takes what is ready and not locked, on the node, cores and GPUs that
Slurm gave it. A task that is preempted leaves its job, and another continues from the checkpoint.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.extras import needed_for

# By one of these Slurm announces the end of a task's time, as submitit asks it to. They reach every
# process of the task, and end those without a handler.
USER_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)

# Exit code (EX_TEMPFAIL) of a sweep whose --max-hours are over: the same command goes on.
TIME_OVER = 75

TIME = 24 * 60  # minutes of a task by default; submitit's own default is 5
# How often a task whose time is over is queued again: practically always, since it continues from
# its checkpoint.
MAX_REQUEUES = 10**6


class Task:
    """One task of the array; submitit calls it on the node.

    Slurm announces the end of the task's time by a signal, which reaches the training as SIGTERM:
    it saves a checkpoint and ends, and the task is queued again. At a preemption Slurm sends
    SIGTERM to all processes of the task and queues it again itself.
    """

    def __init__(self, command: Sequence[str]):
        self.command = list(command)
        self._process: subprocess.Popen | None = None
        self._terminated = False

    def __call__(self) -> int:
        """Run the sweep; returns the exit code, 0 or `TIME_OVER`.

        Raises:
            RuntimeError: it ended with another code, so that the task counts as failed; submitit
                takes every result for a completed task.
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
        count: of tasks.
        folder: on a file system that all nodes see; gets submitit's files and the tasks' logs.
        resources: parameters of submitit's Slurm executor without their prefix, as
            {"partition": "gpu", "gpus_per_node": 1, "time": 600}; without a time it is `TIME`.

    Raises:
        ImportError: submitit is not installed.
        FileNotFoundError: there is no Slurm here.
    """
    with needed_for("the Slurm backend", "slurm"):
        import submitit
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
