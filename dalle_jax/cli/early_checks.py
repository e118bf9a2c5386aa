"""What can be refused before anything long begins: without data, weights or compilation.

Configs are checked for ranges when they are loaded (`config.ranges`); here are stages, settings of
sampling, the options of an evaluation and the files and runs that they name.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dalle_jax.cli import evaluate
from dalle_jax.config import ranges
from dalle_jax.config.choices import METRICS_OF_SETS
from dalle_jax.data.checked import NotScannedError, without_scan
from dalle_jax.evaluation.captions import open_held_out
from dalle_jax.evaluation.during_training import open_captions
from dalle_jax.evaluation.measurements import by_oracle
from dalle_jax.evaluation.networks import check_network, find_features
from dalle_jax.evaluation.options import Evaluation
from dalle_jax.pipelines.settings import checked_settings
from dalle_jax.pipelines.system import by_stage, check_source, find_stages
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.runs import Run
from dalle_jax.stages import STAGES, build_stage, data_of
from dalle_jax.sweeps.graph import NOT_DRAWN_WITH, Graph, PlannedPoint
from dalle_jax.sweeps.jobs import is_measured
from dalle_jax.sweeps.layout import SweepLayout

CALLS = (DallePipeline.__call__, DallePipeline.generate_all)


def check_stage(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a stage that can't be built, or whose previews or evaluations could not be drawn.

    Raises:
        FileNotFoundError: there is no run at `train.evaluation_features`.
        ValueError: a setting does not fit the others.
    """
    stage, own = _built(name, config), config[name]
    settings = own.get("sample", {})
    checked_settings({name: stage}, {name: settings}, {}, CALLS)
    _find_features_in_training(own)


def _find_features_in_training(own: Mapping[str, Any]) -> None:
    """Refuse a stage's `train.evaluation_features` that is no trained network."""
    if own["train"]["evaluate_every"] and own["train"]["evaluation_features"]:
        find_features(own["train"]["evaluation_features"])


def check_later_data(
    stages: Sequence[str], config: Mapping[str, Any], workdir: Path, moved_to: str = ""
) -> None:
    """Open the data of stages that are trained after the first, where it is not the first's.

    `moved_to` is where the data that the config names lies now.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it can't be read.
    """
    opened = [data_of(stages[0], config)]
    for stage in stages[1:]:
        run, data = Run(workdir / stage, stage, config, moved_to), data_of(stage, config)
        if data not in opened and run.step < config[stage]["train"]["steps"]:
            run.open_source("train")
            opened.append(data)
        if run.step < config[stage]["train"]["steps"]:
            _open_evaluation_in_training(run)


def _open_evaluation_in_training(run: Run) -> None:
    """The captions that a training is to be evaluated on now and then, if it is."""
    train = run.config[run.stage_name]["train"]
    if train["evaluate_every"] and STAGES[run.stage_name].has_preview():
        open_captions(run, {}, train["evaluation_images"], train["evaluation_features"])


def data_problems(
    graph: Graph, layout: SweepLayout, reusable: Collection[str] = (), *, scan: bool = True
) -> list[Exception]:
    """Why data that trainings and evaluations to come read can't be used, each reason once.

    An evaluation's captions are read, so that too few of them, or captions that its metrics can't
    be had of, are found here.

    Args:
        graph: of the sweep.
        layout: its paths.
        reusable: keys of runs that are taken over and so need no data.
        scan: whether folders and shards that were not scanned before are; else they are taken as
            usable if they are there.
    """
    tried: set[str] = set()
    reasons: set[str] = set()

    def problem(run: Run, read: Callable[[Run], Any], *of: Any) -> Exception | None:
        """What goes wrong, if it was not tried before and is not known."""
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
            found.append(problem(planned, _open_evaluation_in_training, run.stage, *of))
    for point in graph.points:
        if point.evaluation is None or is_measured(point, layout):
            continue
        what = evaluate.parse(["--workdir=.", *point.evaluation])
        planned = Run(layout.run(point.runs["decoder"]), "decoder", point.config)
        captions = (what.manifest, what.images, what.split, what.n)
        read = lambda run, what=what: _read_captions(run, what)
        found.append(problem(planned, read, *captions, "oracle" in what.metrics))
    return [error for error in found if error is not None]


def _read_captions(run: Run, what: Evaluation) -> None:
    """Those that an evaluation is of, as its metrics read them."""
    held_out = open_held_out(run, what.manifest, what.images, what.split, what.n)
    if "oracle" in what.metrics:
        by_oracle(held_out, {})


def check_points(graph: Graph, to_be_trained: Collection[str] = ()) -> None:
    """Refuse the first point of a sweep that could not be trained, drawn from or measured.

    Args:
        graph: of the sweep.
        to_be_trained: paths of runs that evaluations name and that are trained before them.

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


def check_evaluation(
    what: Evaluation, *, has_clip: bool, to_be_trained: Collection[str] = ()
) -> None:
    """Refuse an evaluation whose files or networks are not there.

    Args:
        what: is to be measured.
        has_clip: whether the workdir has, or will have, a CLIP of its own.
        to_be_trained: paths of runs that are not there yet, but will be.

    Raises:
        FileNotFoundError: a file or run is not there.
        ValueError: a metric lacks its network, or has two.
    """
    if what.manifest and not Path(what.manifest).is_file():
        raise FileNotFoundError(f"there is no caption manifest {what.manifest}")
    if what.inception and not Path(what.inception).is_file():
        raise FileNotFoundError(f"--inception={what.inception}: there is no such file")
    if what.reference and not Path(what.reference).exists():
        raise FileNotFoundError(f"--reference={what.reference}: there is no such file or folder")
    if of_sets := [name for name in what.metrics if name in METRICS_OF_SETS]:
        check_network(of_sets, what.inception, what.features)
    if "clip" in what.metrics and not (what.clip or has_clip):
        raise ValueError(
            "the metric clip needs a trained CLIP, and there is none of its own: give --clip=RUN"
        )
    for path in filter(None, (what.features, what.clip)):
        if str(path) not in to_be_trained:
            find_features(path)


def check_drawing(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that the stages trained in a workdir can't draw with; no weights are loaded.

    Raises:
        FileNotFoundError: nothing was trained there.
        ValueError: a setting is unknown, or has a value that can't be.
    """
    runs, stages = find_stages(workdir)
    defaults = {name: runs[name].config[name].get("sample", {}) for name in stages}
    check_source(stages, settings.get("embedding", "prior"), settings.get("images"))
    _check_settings(stages, defaults, settings)
    drawing = [name for name in stages if name not in ("clip", "prior")]
    if settings.get("until", "decoder") not in drawing:
        raise ValueError(
            f"{workdir} has no trained stage {settings['until']!r} that draws; it has "
            f"{', '.join(drawing)}"
        )


def _check_point(point: PlannedPoint, to_be_trained: Collection[str]) -> None:
    ranges.check(point.config)
    stages = {name: _built(name, point.config) for name in point.runs}
    for name in stages:
        _find_features_in_training(point.config[name])
    if point.evaluation is None:
        for name, stage in stages.items():
            of_previews = point.config[name].get("sample", {})
            checked_settings({name: stage}, {name: of_previews}, {}, CALLS)
        return
    evaluation = evaluate.parse(["--workdir=.", *point.evaluation])
    check_evaluation(evaluation, has_clip="clip" in stages, to_be_trained=to_be_trained)
    drawing = {name: stage for name, stage in stages.items() if name not in NOT_DRAWN_WITH}
    _check_settings(drawing, {name: {} for name in drawing}, evaluation.sampling)


def _check_settings(
    stages: Mapping[str, Any],
    defaults: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> None:
    """Of a call of the pipeline; what it takes besides settings of stages is left out."""
    of_stages = {key: value for key, value in settings.items() if key not in _OF_THE_CALL}
    checked_settings(stages, defaults, by_stage(stages, of_stages), CALLS)


_OF_THE_CALL = ("embedding", "images", "until")


def _built(name: str, config: Mapping[str, Any]) -> Any:
    try:
        return build_stage(name, config)
    except KeyError as error:
        raise ValueError(f"the config has no setting {error} for the stage {name}") from error
    except (TypeError, AttributeError) as error:
        # Of a stage's model, losses and schedule, whose settings its own classes take by name.
        raise ValueError(f"config.{name} does not fit the stage {name}: {error}") from error
