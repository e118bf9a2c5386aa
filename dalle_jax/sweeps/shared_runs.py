"""The points of a sweep as a graph of trainings: points that agree in a stage share its run.

A stage's fingerprint is the hash of its config and of the stages that it depends on; a run of user
data is also identified by their content. Each point is a system: one run for each stage, and how it
is sampled and measured.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dalle_jax.files import short_hash
from dalle_jax.runs.data import content_of
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.stages import upstream_of
from dalle_jax.sweeps.grid import BASE, OTHER_CONFIG, Sweep, is_sampling, point_name
from dalle_jax.sweeps.point_evaluation import (
    PointEvaluation,
    network_checkpoints,
    point_evaluation,
)

Config = Mapping[str, Any]
ConfigOf = Callable[[Mapping[str, Any]], Config]  # overrides by name -> config with them
SignatureOf = Callable[[str, Config], str]  # stage, config -> signature of its data's content

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
        """The number of training steps."""
        return self.config[self.stage]["train"]["steps"]


@dataclass(frozen=True)
class PlannedPoint:
    """A point and what it is made of.

    Attributes:
        name: see `grid.point_name`.
        overrides: of the point.
        config: with all overrides.
        runs: keys by stage.
        evaluation: None where only trainings are compared.
        key: hash of the runs, the evaluation, and the checkpoints of the networks it names; points
            with the same key share the result.
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

    `cli_overrides` are overrides of all points that make it another sweep than its file's.
    """

    runs: Mapping[str, StageRun]
    points: Sequence[PlannedPoint]
    cli_overrides: Mapping[str, Any] = field(default_factory=dict)

    def users(self, key: str) -> list[PlannedPoint]:
        """The points that have the run `key`."""
        return [point for point in self.points if key in point.runs.values()]


def build_graph(
    sweep: Sweep, config_of: ConfigOf, signature_of: SignatureOf = lambda stage, config: ""
) -> Graph:
    """The graph of a sweep; `config_of` gives a plain dict.

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
        evaluation = None if sweep.evaluation is None else point_evaluation(sweep, config, keys)
        key = short_hash([dict(keys), evaluation, network_checkpoints(sweep.evaluation or {})])
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
    signature_of: SignatureOf,
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
    signature = signature_of(stage, config)
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


def setting_columns(graph: Graph) -> dict[str, str]:
    """The column of each setting that differs between the points."""
    return short_names(list(dict.fromkeys(k for p in graph.points for k in p.overrides)))


def short_names(settings: Sequence[str]) -> dict[str, str]:
    """Each setting's last part, or the setting itself where others end alike."""
    last = [name.rpartition(".")[2] for name in settings]
    return {name: end if last.count(end) == 1 else name for name, end in zip(settings, last)}


def names_of(graph: Graph) -> dict[str, str]:
    """Each point's overrides in short, each setting by its last part."""
    columns = setting_columns(graph)
    return {
        point.name: ", ".join(f"{columns[k]}={v}" for k, v in point.overrides.items()) or BASE
        for point in graph.points
    }
