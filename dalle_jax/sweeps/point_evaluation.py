"""How a point of a sweep is measured: options of `dalle-jax evaluate` and settings of sampling."""

import itertools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dalle_jax.metrics.table import NETWORK_OPTIONS
from dalle_jax.pipelines.settings import settings_of
from dalle_jax.runs import open_run
from dalle_jax.stages import EMBEDDERS, STAGES, main_of, sampling_of
from dalle_jax.sweeps.grid import Sweep

# Options of an evaluation that take several values, as a list or as one text with commas.
LIST_OPTIONS = ("metrics", "seeds")


class PointEvaluation(NamedTuple):
    """How a point is measured.

    Attributes:
        options: of `dalle-jax evaluate`, by name.
        sampling: settings as `DallePipeline.generate` takes them, the main stage's by their names,
            those of another stage as a dict under its name.
    """

    options: Mapping[str, Any]
    sampling: Mapping[str, Any]


def point_evaluation(
    sweep: Sweep, config: Mapping[str, Any], stages: Iterable[str]
) -> PointEvaluation:
    """The evaluation of a point that has a config and stages."""
    main = main_of(stages)
    if main is None:
        raise ValueError(
            f"a sweep of {', '.join(stages)} draws no images to evaluate; set its "
            "evaluation=None, or let it train a stage that draws"
        )
    # All settings that the stages sample with, since a shared run's config may be another's.
    sampling = {
        stage: sampling_of(stage, config)
        for stage in stages
        if not STAGES[stage].continues  # whose sampling is for previews
    }
    options = _json_options(sweep.evaluation)
    for name in list(options):
        stage, dot, setting = name.rpartition(".")
        if dot or name in ("embedding", *settings_of(STAGES[main])):
            settings = sampling.setdefault(stage or main, {})
            settings.setdefault(setting, options.pop(name))
    of_main = sampling.pop(main)
    if "weights" in of_main:  # weights among its settings chooses those of all stages
        options["weights"] = of_main.pop("weights")
    if "guidance_scale" in of_main:  # a float in the records of all images
        of_main["guidance_scale"] = float(of_main["guidance_scale"])
    return PointEvaluation(options, {**of_main, **sampling})


def _json_options(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(evaluation)
    for name, value in options.items():
        if name in NETWORK_OPTIONS:
            options[name] = from_here(value)
        elif name in LIST_OPTIONS and isinstance(value, Iterable) and not isinstance(value, str):
            options[name] = [one.item() if hasattr(one, "item") else one for one in value]
    return options


def network_checkpoints(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Checkpoints of the trained networks that an evaluation names, where they exist."""
    found = []
    for option in NETWORK_OPTIONS:
        path = Path(options.get(option, ""))
        directories = (path, *(path / stage for stage in EMBEDDERS))
        trained = (d for d in directories if option in options and (d / "config.json").exists())
        # The first, which is the one that measures; see `evaluation.networks.open_features`.
        found += [open_run(directory).checkpoint_name for directory in itertools.islice(trained, 1)]
    return tuple(found)


def from_here(path: str) -> str:
    """A path relative to the working directory where it is inside it, else an absolute path.

    So a result depends on the run that is named, not on how its path is spelled. Links are not
    resolved, except those that lead to the working directory itself.
    """
    absolute = Path(os.path.abspath(path))
    for parent in absolute.parents:
        if parent.exists() and parent.samefile("."):
            return str(absolute.relative_to(parent))
    return str(absolute)
