"""The points of a sweep and the data they read, checked before anything long begins."""

import json
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dalle_jax.config import ranges
from dalle_jax.data.index import NotScannedError, without_scan
from dalle_jax.evaluation.caption_scores import oracle_measurement
from dalle_jax.evaluation.captions import open_held_out
from dalle_jax.evaluation.checks import (
    check_evaluation,
    find_features_of_training,
    open_evaluation_of_training,
)
from dalle_jax.evaluation.options import Evaluation, evaluation_of
from dalle_jax.pipelines.settings import check_sampling_defaults, check_settings
from dalle_jax.runs import Run
from dalle_jax.stages import build_stage, main_of, sampling_of
from dalle_jax.sweeps.jobs import is_measured
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint


def check_points(graph: Graph, to_be_trained: Collection[str] = ()) -> None:
    """Refuse the first point of a sweep that could not be trained, sampled or measured.

    Args:
        graph: of the sweep.
        to_be_trained: paths of runs that evaluations name and that are trained before.

    Raises:
        FileNotFoundError: a file or run that an evaluation names is not there.
        ValueError: a setting, a metric or a name is wrong; the message names the point.
    """
    checked = set()
    for point in graph.points:
        what = json.dumps([point.config, dict(point.runs), point.evaluation], sort_keys=True)
        if what in checked:
            continue
        checked.add(what)
        try:
            _check_point(point, to_be_trained)
        except (ValueError, OSError) as error:
            kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
            raise kind(f"point {point.name}: {error}") from error


def _check_point(point: PlannedPoint, to_be_trained: Collection[str]) -> None:
    ranges.check(point.config)
    stages = {name: build_stage(name, point.config) for name in point.runs}
    for name in stages:
        find_features_of_training(point.config[name])
    if point.evaluation is None:
        for name, stage in stages.items():
            check_sampling_defaults(name, stage, sampling_of(name, point.config))
        return
    evaluation = evaluation_of(Path(), *point.evaluation)
    has_clip = any(stage.embeds_captions() for stage in stages.values())
    check_evaluation(evaluation, has_clip=has_clip, to_be_trained=to_be_trained)
    sampled = {name: stage for name, stage in stages.items() if not stage.continues}
    check_settings(sampled, {name: {} for name in sampled}, evaluation.sampling)


def data_problems(
    graph: Graph, layout: SweepLayout, reusable: Collection[str] = (), *, scan: bool = True
) -> list[Exception]:
    """Why data of trainings and evaluations to come can't be used, each reason once.

    Evaluations' captions are read, so that it is found here if there are too few of them, or if a
    metric is undefined for them.

    Args:
        graph: of the sweep.
        layout: its paths.
        reusable: keys of runs that are reused and so need no data.
        scan: whether to scan folders and shards that were not scanned before; if not, they count as
            usable if they exist.
    """
    tried: set[str] = set()
    reasons: set[str] = set()

    def problem(run: Run, read: Callable[[Run], Any], *of: Any) -> Exception | None:
        """The error of reading a run's data; None if there is none, or it is known."""
        key = json.dumps([run.data, of], sort_keys=True, default=str)
        if key in tried:
            return None
        tried.add(key)
        try:
            with nullcontext() if scan else without_scan():
                read(run)
        except NotScannedError:
            return None
        except (OSError, ValueError) as error:
            is_new = str(error) not in reasons
            reasons.add(str(error))
            return error if is_new else None
        return None

    found = []
    for run in graph.runs.values():
        if run.key not in reusable and not layout.is_trained(run):
            planned = Run(layout.run(run.key), run.stage, run.config)
            found.append(problem(planned, lambda planned: planned.open_source("train")))
            names = ("evaluate_every", "evaluation_images", "evaluation_features")
            of = [run.config[run.stage]["train"][name] for name in names]
            found.append(problem(planned, open_evaluation_of_training, run.stage, *of))
    for point in graph.points:
        if point.evaluation is None or is_measured(point, layout):
            continue
        what = evaluation_of(layout.system(point), *point.evaluation)
        main = main_of(point.runs)
        planned = Run(layout.run(point.runs[main]), main, point.config)
        captions = (what.manifest, what.images, what.split, what.n)
        read = lambda run, what=what: _read_captions(run, what)
        found.append(problem(planned, read, *captions, "oracle" in what.metrics))
    return [error for error in found if error is not None]


def _read_captions(run: Run, what: Evaluation) -> None:
    held_out = open_held_out(run, what.manifest, what.images, what.split, what.n)
    if "oracle" in what.metrics:
        oracle_measurement(held_out, {})


def check_captions(run: Run, count: int, *, scan: bool) -> None:
    """Refuse to measure a figure on more captions than the test split has.

    Data that are missing, or would have to be scanned although `scan` is false, are not looked at.
    """
    try:
        with nullcontext() if scan else without_scan():
            there = len(run.open_source("test"))
    except (FileNotFoundError, NotScannedError):
        return
    if there < count:
        raise ValueError(
            f"the split 'test' of {run.data['source']} has {there} captions, fewer than the "
            f"{count} that the figure is measured on; give --captions={there} or fewer"
        )
