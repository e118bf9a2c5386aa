"""The jobs of a sweep: each trains a stage or measures a point."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.overrides import base_of
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, StageRun


@dataclass(frozen=True)
class Job:
    """A command, and how to find out whether it is done.

    Attributes:
        key: the name of its directory.
        title: for people.
        command: the path of its request -> a command, which continues if it is run again.
        request: what it should do, as JSON can hold it.
        needs: keys of the jobs that must be done before.
        directory: of its lock, its attempts, their requests and logs.
        is_done: whether what it makes is there.
        step: how far it has come; an attempt that came further does not count as failed.
        saves: whether it saves and ends at a SIGTERM, and ends unsaved at a second one.
        batch: one process does several ready jobs of the same batch in turn, see
            `sweeps/points.py`; "" for a job that needs a separate process.
    """

    key: str
    title: str
    command: Callable[[Path], Sequence[str]]
    request: Mapping[str, Any]
    needs: tuple[str, ...]
    directory: Path
    is_done: Callable[[], bool]
    step: Callable[[], int] = lambda: 0
    saves: bool = False
    batch: str = ""

    @property
    def lock(self) -> Path:
        """Held by the process that works at the job."""
        return self.directory / "lock"


def jobs_of(graph: Graph, layout: SweepLayout, config: Path, program: Sequence[str]) -> list[Job]:
    """The jobs of a sweep in order: a point's trainings, its evaluation, the next point's.

    `program` is the command that `train …` and `evaluate …` are arguments of.
    """
    jobs: dict[str, Job] = {}
    for point in graph.points:
        for key in point.runs.values():
            if key not in jobs:
                jobs[key] = _training(graph.runs[key], point, layout, config, program)
        if point.evaluation is not None:
            job = _evaluation(point, layout, program)
            jobs.setdefault(job.key, job)
    return list(jobs.values())


def evaluation_key(point: PlannedPoint) -> str:
    """The key of the job that measures a point."""
    return f"evaluation-{point.key}"


def is_measured(point: PlannedPoint, layout: SweepLayout) -> bool:
    """Whether the evaluation of a point is done."""
    done = layout.job(evaluation_key(point)) / "done"
    return done.exists() and (layout.system(point) / "results.jsonl").exists()


def _training(
    run: StageRun, point: PlannedPoint, layout: SweepLayout, config: Path, program: Sequence[str]
) -> Job:
    file, settings = base_of(config, run.overrides)
    command = (*program, "train", f"--config={file}", f"--workdir={layout.system(point)}")
    return Job(
        key=run.key,
        title=f"train {run.stage} {run.fingerprint}",
        command=lambda request: (*command, f"--stage={run.stage}", f"--settings={request}"),
        request=settings,
        needs=run.needs,
        directory=layout.job(run.key),
        is_done=lambda: layout.is_trained(run),
        step=lambda: layout.step(run),
        saves=True,
    )


def _evaluation(point: PlannedPoint, layout: SweepLayout, program: Sequence[str]) -> Job:
    directory = layout.job(evaluation_key(point))
    return Job(
        key=evaluation_key(point),
        title=f"evaluate {point.name}",
        command=lambda request: (*program, "evaluate", f"--points={request}"),
        request={
            "workdir": str(layout.system(point)),
            "job": str(directory),
            **point.evaluation._asdict(),
        },
        needs=tuple(point.runs.values()),
        directory=directory,
        is_done=lambda: is_measured(point, layout),
        batch=",".join(point.runs.values()),
    )
