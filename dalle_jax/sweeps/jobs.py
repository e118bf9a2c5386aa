"""The jobs of a sweep: each trains a stage or measures a point."""

from collections.abc import Sequence
from pathlib import Path

from dalle_jax.sweeps.graph import Graph, PlannedPoint, StageRun
from dalle_jax.sweeps.grid import base_of, override_text
from dalle_jax.sweeps.job import Job
from dalle_jax.sweeps.layout import SweepLayout


def jobs_of(
    graph: Graph,
    layout: SweepLayout,
    config: Path,
    program: Sequence[str],
    server: Sequence[str] = (),
) -> list[Job]:
    """The jobs of a sweep in walking order: a point's trainings, its evaluation, the next point's.

    Args:
        graph: of the sweep.
        layout: its paths.
        config: the file of the base config.
        program: what `train …` and `evaluate …` are given to, as ("dalle-jax",).
        server: command of a process that evaluates points of the same runs one after the other, see
            `sweeps/kept.py`; without it each has a process of its own.
    """
    jobs: dict[str, Job] = {}
    for point in graph.points:
        for key in point.runs.values():
            if key not in jobs:
                jobs[key] = _training(graph.runs[key], point, layout, config, program)
        if point.evaluation is not None:
            job = _evaluation(point, layout, program, server)
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
    file, knobs = base_of(config, run.overrides)
    overrides = (f"--config.{k}={override_text(v)}" for k, v in knobs.items())
    return Job(
        key=run.key,
        title=f"train {run.stage} {run.fingerprint}",
        command=(
            *(*program, "train", f"--config={file}", f"--workdir={layout.system(point)}"),
            *(f"--stage={run.stage}", *overrides),
        ),
        needs=run.needs,
        directory=layout.job(run.key),
        is_done=lambda: layout.is_trained(run),
        step=lambda: layout.step(run),
        saves=True,
    )


def _evaluation(
    point: PlannedPoint, layout: SweepLayout, program: Sequence[str], server: Sequence[str]
) -> Job:
    request = ("evaluate", f"--workdir={layout.system(point)}", *point.evaluation)
    return Job(
        key=evaluation_key(point),
        title=f"evaluate {point.name}",
        command=(*program, *request),
        needs=tuple(point.runs.values()),
        directory=layout.job(evaluation_key(point)),
        is_done=lambda: is_measured(point, layout),
        step=lambda: 0,
        server=(*server, ",".join(point.runs.values())) if server else (),
        request=request,
    )
