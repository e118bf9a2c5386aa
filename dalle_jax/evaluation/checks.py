"""Checks of trainings and evaluations before anything long begins."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.evaluation.during_training import open_captions
from dalle_jax.evaluation.networks import check_network, find_features
from dalle_jax.evaluation.options import Evaluation
from dalle_jax.metrics.table import CLIP, METRICS
from dalle_jax.pipelines.settings import check_sampling_defaults
from dalle_jax.runs import Run
from dalle_jax.stages import STAGES, build_stage, data_of, sampling_of


def check_stage(name: str, config: Mapping[str, Any]) -> None:
    """Check that a stage can be built, and that its previews and evaluations can be sampled.

    Raises:
        FileNotFoundError: there is no run at `train.evaluation_features`.
        ValueError: a setting does not fit the others.
    """
    stage, own = build_stage(name, config), config[name]
    check_sampling_defaults(name, stage, sampling_of(name, config))
    find_features_of_training(own)


def find_features_of_training(own: Mapping[str, Any]) -> None:
    """Check that a stage's `train.evaluation_features` is a trained network."""
    if own["train"]["evaluate_every"] and own["train"]["evaluation_features"]:
        find_features(own["train"]["evaluation_features"])


def check_later_data(
    stages: Sequence[str], config: Mapping[str, Any], workdir: Path, moved_to: str = ""
) -> None:
    """Check the data of the stages after the first, if they have others than the first.

    `moved_to` is the present location of the config's data.

    Raises:
        FileNotFoundError: the data do not exist.
        ValueError: they can't be read.
    """
    checked = [data_of(stages[0], config)]
    for stage in stages[1:]:
        run, data = Run(workdir / stage, stage, config, moved_to), data_of(stage, config)
        if data not in checked and run.step < run.steps:
            run.open_source("train")
            checked.append(data)
        if run.step < run.steps:
            open_evaluation_of_training(run)


def open_evaluation_of_training(run: Run) -> None:
    """Check that the captions for evaluations during training exist, if there are any."""
    train = run.config[run.stage_name]["train"]
    if train["evaluate_every"] and STAGES[run.stage_name].has_preview():
        open_captions(run, {}, train["evaluation_images"], train["evaluation_features"])


def check_evaluation(
    what: Evaluation, *, has_clip: bool, to_be_trained: Collection[str] = ()
) -> None:
    """Check that the files and networks of an evaluation exist.

    Args:
        what: the options.
        has_clip: whether the workdir has, or will have, a CLIP.
        to_be_trained: paths of runs that do not exist yet, but will.

    Raises:
        FileNotFoundError: a file or run does not exist.
        ValueError: a metric lacks its network, or has two.
    """
    if what.manifest and not Path(what.manifest).is_file():
        raise FileNotFoundError(f"there is no caption manifest {what.manifest}")
    if what.inception and not Path(what.inception).is_file():
        raise FileNotFoundError(f"--inception={what.inception}: there is no such file")
    if what.reference and not Path(what.reference).exists():
        raise FileNotFoundError(f"--reference={what.reference}: there is no such file or folder")
    if of_sets := [name for name in what.metrics if name in METRICS]:
        check_network(of_sets, what.inception, what.features)
    if CLIP in what.metrics and not (what.clip or has_clip):
        raise ValueError(
            "the metric clip needs a trained CLIP, and the workdir has none: give --clip=RUN"
        )
    for path in filter(None, (what.features, what.clip)):
        if str(path) not in to_be_trained:
            find_features(path)
