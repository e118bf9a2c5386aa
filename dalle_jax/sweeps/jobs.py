"""The jobs of a sweep: each one command that trains a stage or measures a point."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.sweeps.graph import Graph, PlannedPoint, StageRun
from dalle_jax.sweeps.grid import override_text
from dalle_jax.sweeps.place import Place


@dataclass(frozen=True)
class Job:
    """A command, and how to tell that it is done.

    Attributes:
        key: the name of its directory of logs.
        title: for people.
        command: to be run; run again it goes on where it stopped.
        needs: keys of the jobs that are to be done before.
        directory: of its lock, its attempts and their logs.
        is_done: whether what it makes is there.
        step: how far it has come; an attempt that came further does not count as failed.
    """

    key: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    directory: Path
    is_done: Callable[[], bool]
    step: Callable[[], int]

    @property
    def lock(self) -> Path:
        """Held by whoever runs it."""
        return self.directory / "lock"


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """What was recorded of each attempt that ended, the oldest first; a torn line is none."""
    path, found = directory / "attempts.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def jobs_of(graph: Graph, place: Place, config: Path, program: Sequence[str]) -> list[Job]:
    """The jobs of a sweep in walking order: a point's trainings, its evaluation, the next point's.

    Args:
        graph: of the sweep.
        place: where it lies.
        config: the file of the base config.
        program: what `train …` and `evaluate …` are given to, as ("dalle-jax",).
    """
    jobs: dict[str, Job] = {}
    for point in graph.points:
        for key in point.runs.values():
            if key not in jobs:
                jobs[key] = _training(graph.runs[key], point, place, config, program)
        if point.evaluation is not None:
            job = _evaluation(point, place, program)
            jobs.setdefault(job.key, job)
    return list(jobs.values())


def evaluation_key(point: PlannedPoint) -> str:
    """The key of the job that measures a point."""
    return f"evaluation-{point.key}"


def _training(
    run: StageRun, point: PlannedPoint, place: Place, config: Path, program: Sequence[str]
) -> Job:
    overrides = (f"--config.{k}={override_text(v)}" for k, v in run.overrides.items())
    return Job(
        key=run.key,
        title=f"train {run.stage} {run.fingerprint}",
        command=(
            *(*program, "train", f"--config={config}", f"--workdir={place.system(point)}"),
            *(f"--stage={run.stage}", *overrides),
        ),
        needs=run.needs,
        directory=place.job(run.key),
        is_done=lambda: place.is_trained(run),
        step=lambda: place.step(run),
    )


def _evaluation(point: PlannedPoint, place: Place, program: Sequence[str]) -> Job:
    directory = place.job(evaluation_key(point))
    done = directory / "done"
    return Job(
        key=evaluation_key(point),
        title=f"evaluate {point.name}",
        command=(*program, "evaluate", f"--workdir={place.system(point)}", *point.evaluation),
        needs=tuple(point.runs.values()),
        directory=directory,
        is_done=lambda: done.exists() and (place.system(point) / "results.jsonl").exists(),
        step=lambda: 0,
    )
