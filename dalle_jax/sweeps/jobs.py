"""The jobs of a sweep: each trains a stage or measures a point."""

from collections.abc import Sequence
from pathlib import Path

from dalle_jax.sweeps.graph import Graph, PlannedPoint, StageRun
from dalle_jax.sweeps.grid import base_of, override_text
from dalle_jax.sweeps.job import Job
from dalle_jax.sweeps.place import Place


def jobs_of(
    graph: Graph,
    place: Place,
    config: Path,
    program: Sequence[str],
    server: Sequence[str] = (),
) -> list[Job]:
    """The jobs of a sweep in walking order: a point's trainings, its evaluation, the next point's.

    Args:
        graph: of the sweep.
        place: where it lies.
        config: the file of the base config.
        program: what `train …` and `evaluate …` are given to, as ("dalle-jax",).
        server: command of a process that evaluates points of the same runs one after the other, see
            `sweeps/kept.py`; without it each has a process of its own.
    """
    jobs: dict[str, Job] = {}
    for point in graph.points:
        for key in point.runs.values():
            if key not in jobs:
                jobs[key] = _training(graph.runs[key], point, place, config, program)
        if point.evaluation is not None:
            job = _evaluation(point, place, program, server)
            jobs.setdefault(job.key, job)
    return list(jobs.values())


def evaluation_key(point: PlannedPoint) -> str:
    """The key of the job that measures a point."""
    return f"evaluation-{point.key}"


def is_measured(point: PlannedPoint, place: Place) -> bool:
    """Whether the evaluation of a point is done."""
    done = place.job(evaluation_key(point)) / "done"
    return done.exists() and (place.system(point) / "results.jsonl").exists()


def _training(
    run: StageRun, point: PlannedPoint, place: Place, config: Path, program: Sequence[str]
) -> Job:
    file, knobs = base_of(config, run.overrides)
    overrides = (f"--config.{k}={override_text(v)}" for k, v in knobs.items())
    return Job(
        key=run.key,
        title=f"train {run.stage} {run.fingerprint}",
        command=(
            *(*program, "train", f"--config={file}", f"--workdir={place.system(point)}"),
            *(f"--stage={run.stage}", *overrides),
        ),
        needs=run.needs,
        directory=place.job(run.key),
        is_done=lambda: place.is_trained(run),
        step=lambda: place.step(run),
        saves=True,
    )


def _evaluation(
    point: PlannedPoint, place: Place, program: Sequence[str], server: Sequence[str]
) -> Job:
    request = ("evaluate", f"--workdir={place.system(point)}", *point.evaluation)
    return Job(
        key=evaluation_key(point),
        title=f"evaluate {point.name}",
        command=(*program, *request),
        needs=tuple(point.runs.values()),
        directory=place.job(evaluation_key(point)),
        is_done=lambda: is_measured(point, place),
        step=lambda: 0,
        server=(*server, ",".join(point.runs.values())) if server else (),
        request=request,
    )
