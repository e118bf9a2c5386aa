"""The points of a sweep as a graph of trainings: a training that two points share is there once.

A stage's fingerprint is the hash of its config and of the stages that it depends on; for user data
a signature of their content joins it. Two points whose stage agrees in both share the run. Each
point is a system: a choice of one run for each stage, and how it is sampled and measured.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dalle_jax.files import short_hash
from dalle_jax.metrics.table import NETWORK_OPTIONS
from dalle_jax.pipelines.settings import settings_of
from dalle_jax.runs import open_run
from dalle_jax.runs.data import content_of
from dalle_jax.runs.fingerprint import FREE_DATA_SETTINGS, FREE_TRAIN_SETTINGS, fingerprint
from dalle_jax.stages import EMBEDDERS, STAGES, main_of, sampling_of, upstream_of
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep, is_sampling, point_name

Config = Mapping[str, Any]

# Options of an evaluation that take several values, as a list or as one text with commas.
LIST_OPTIONS = ("metrics", "seeds")

CONTENT_DIGITS = 8


@dataclass(frozen=True)
class StageRun:
    """A stage to be trained for one point or many.

    Attributes:
        overrides: of training, of the first point that needs it, the setting `config` included.
        config: of that point; of it the fingerprint covers what the weights depend on.
        needs: keys of the runs that it depends on.
        signature: of the content of its data; "" for a built-in data set.
        content: of its data and of those upstream, see `runs.data.content_of`.
    """

    stage: str
    fingerprint: str
    overrides: Mapping[str, Any]
    config: Config
    needs: tuple[str, ...]
    signature: str = ""
    content: str = ""

    @property
    def key(self) -> str:
        """The name of its directory, `decoder-0123456789ab`; for user data `-CONTENT` follows."""
        content = f"-{self.content[:CONTENT_DIGITS]}" if self.content else ""
        return f"{self.stage}-{self.fingerprint}{content}"

    @property
    def steps(self) -> int:
        """How long it is trained."""
        return self.config[self.stage]["train"]["steps"]


class PointEvaluation(NamedTuple):
    """How a point is measured.

    Attributes:
        options: of `dalle-jax evaluate`, by name.
        sampling: settings as `DallePipeline.generate` takes them, the main stage's by their names,
            those of another stage as a dict under its name.
    """

    options: Mapping[str, Any]
    sampling: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedPoint:
    """A point and what it is made of.

    Attributes:
        name: see `grid.point_name`.
        overrides: of the point.
        config: with all overrides.
        runs: keys by stage.
        evaluation: None where only trainings are compared.
        key: hash of the runs, the evaluation, and the checkpoints of the networks that this one
            names: points that are alike in them share the result.
    """

    name: str
    overrides: Mapping[str, Any]
    config: Config
    runs: Mapping[str, str]
    evaluation: PointEvaluation | None
    key: str


@dataclass(frozen=True)
class Graph:
    """All of a sweep; `runs` in an order in which each comes after those that it needs.

    `cli_overrides` are overrides of all points by which it is another sweep than its file's.
    """

    runs: Mapping[str, StageRun]
    points: Sequence[PlannedPoint]
    cli_overrides: Mapping[str, Any] = field(default_factory=dict)

    def users(self, key: str) -> list[PlannedPoint]:
        """The points that have the run `key`."""
        return [point for point in self.points if key in point.runs.values()]


def build_graph(
    sweep: Sweep,
    config_of: Callable[[Mapping[str, Any]], Config],
    signature_of: Callable[[str, Config], str] | None = None,
) -> Graph:
    """The graph of a sweep.

    Args:
        sweep: of a base config.
        config_of: overrides by name -> the base config with them, as a plain dict.
        signature_of: a stage and the config -> the content signature of the stage's data, "" for a
            built-in data set. None takes all data as built in.

    Raises:
        ValueError: an override is wrong, or a stage is missing that another depends on.
    """
    runs: dict[str, StageRun] = {}
    bases: dict[str, Config] = {}  # by overrides of training, which many points may share
    points = []
    for overrides in sweep.points:
        every = {**sweep.overrides, **overrides}
        training = {name: value for name, value in every.items() if not is_sampling(name)}
        text = repr(training)
        if text not in bases:
            bases[text] = config_of(training)
        config = _with_sampling(bases[text], every)
        keys: dict[str, str] = {}
        for stage in _stages(sweep, config, overrides):
            run = _stage_run(stage, config, training, keys, runs, signature_of)
            keys[stage] = runs.setdefault(run.key, run).key
        evaluation = None if sweep.evaluation is None else _evaluation(sweep, config, keys)
        checkpoints = network_checkpoints(sweep.evaluation or {})
        key = short_hash([dict(keys), evaluation, checkpoints])
        points.append(PlannedPoint(point_name(overrides), overrides, config, keys, evaluation, key))
    return Graph(runs, points, sweep.cli_overrides)


def _stages(sweep: Sweep, config: Config, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    stages = sweep.stages or tuple(config["stages"])
    if OTHER_CONFIG in overrides:
        return tuple(stage for stage in stages if stage in config["stages"])
    return stages


def _stage_run(
    stage: str,
    config: Config,
    overrides: Mapping[str, Any],
    before: Mapping[str, str],
    runs: Mapping[str, StageRun],
    signature_of: Callable[[str, Config], str] | None,
) -> StageRun:
    if stage not in config["stages"]:
        raise ValueError(f"the config has no stage {stage!r}; it has {', '.join(config['stages'])}")
    needed = upstream_of(stage, config)
    if missing := [name for name in needed if name not in before]:
        raise ValueError(
            f"{stage} depends on {missing[0]}, which the sweep does not train before it; name it "
            "first in the sweep's stages"
        )
    needs = tuple(before[name] for name in needed)
    signature = signature_of(stage, config) if signature_of else ""
    content = content_of(signature, {name: runs[before[name]].content for name in needed})
    name = fingerprint(stage, config)
    return StageRun(stage, name, overrides, config, needs, signature, content)


def _with_sampling(config: Config, overrides: Mapping[str, Any]) -> Config:
    """`config` with the overrides of sampling, also those of options that it does not list."""
    config = json.loads(json.dumps(config))
    for full_name in filter(is_sampling, overrides):
        stage, _, name = full_name.split(".", 2)
        if stage not in config or "sample" not in config[stage]:
            raise ValueError(f"{full_name} can't be set: the config has no {stage}.sample")
        config[stage]["sample"][name] = overrides[full_name]
    return config


def _evaluation(sweep: Sweep, config: Config, stages: Iterable[str]) -> PointEvaluation:
    main = main_of(stages)
    if main is None:
        raise ValueError(
            f"a sweep of {', '.join(stages)} draws no images to evaluate; set its "
            "evaluation=None, or let it train a stage that draws"
        )
    options, sampling = _options(sweep), _sampling(config, stages)
    for name in list(options):
        stage, dot, setting = name.rpartition(".")
        if dot or name in ("embedding", *settings_of(STAGES[main])):
            settings = sampling.setdefault(stage or main, {})
            settings.setdefault(setting, options.pop(name))
    own = sampling.pop(main)
    if "weights" in own:  # weights among its settings chooses those of all stages
        options["weights"] = own.pop("weights")
    if "guidance_scale" in own:  # a float in the records of all images
        own["guidance_scale"] = float(own["guidance_scale"])
    return PointEvaluation(options, {**own, **sampling})


def _options(sweep: Sweep) -> dict[str, Any]:
    """Those of the sweep's evaluation, as JSON can hold them."""
    options = dict(sweep.evaluation)
    for name, value in options.items():
        if name in NETWORK_OPTIONS:
            options[name] = from_here(value)
        elif name in LIST_OPTIONS and isinstance(value, Iterable) and not isinstance(value, str):
            options[name] = [one.item() if hasattr(one, "item") else one for one in value]
    return options


def _sampling(config: Config, stages: Iterable[str]) -> dict[str, dict[str, Any]]:
    """All settings that the stages sample with, since a shared run's config may be another's."""
    return {
        stage: sampling_of(stage, config)
        for stage in stages
        if not STAGES[stage].continues  # whose sampling is for previews
    }


def is_free(setting: str) -> bool:
    """Whether a setting affects only logging or placement, never results.

    Examples are the data's folder (`data.dir`) and the length of log intervals.
    """
    section, name, of_training, *_ = (*setting.split("."), "", "")
    if section == "data":
        return name in FREE_DATA_SETTINGS
    return name == "train" and of_training in FREE_TRAIN_SETTINGS


def network_checkpoints(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Checkpoints of the trained networks that an evaluation names, where they are there."""
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


def setting_columns(graph: Graph) -> dict[str, str]:
    """The column of each setting that differs between the points."""
    return short_names(list(dict.fromkeys(k for p in graph.points for k in p.overrides)))


def short_names(settings: Sequence[str]) -> dict[str, str]:
    """Each setting's last part, or the setting itself where others end alike."""
    last = [name.rpartition(".")[2] for name in settings]
    return {name: end if last.count(end) == 1 else name for name, end in zip(settings, last)}
