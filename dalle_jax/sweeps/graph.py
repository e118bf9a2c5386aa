"""The points of a sweep as a graph of trainings: what two points share stands in it once.

A stage's fingerprint is the hash of its config and of the stages that it stands on; a signature of
the content of one's own data joins it. Two points whose stage has the same of both share the run.
Each point is a system: a choice of one run for each stage, and how it is sampled and measured.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dalle_jax.runs import open_run
from dalle_jax.runs.data import content_of
from dalle_jax.runs.fingerprint import FREE_DATA_KNOBS, FREE_TRAIN_KNOBS, fingerprint
from dalle_jax.stages import upstream_of
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep, is_sampling, override_text, point_name

Config = Mapping[str, Any]

# Its sampling is for previews; what is drawn after joint training is drawn by prior and decoder.
NOT_DRAWN_WITH = ("joint",)

# Options of an evaluation that take several values, with commas.
WITH_COMMAS = ("metrics", "seeds")
# Options of an evaluation that name a trained network, by its run or the workdir that holds it.
JUDGES = ("features", "clip")
STAGES_OF_JUDGES = ("classifier", "clip")

CONTENT_DIGITS = 8


@dataclass(frozen=True)
class StageRun:
    """A stage to be trained for one point or many.

    Attributes:
        overrides: of training, of the first point that needs it, the knob `config` among them.
        config: of that point; of it the fingerprint covers what the weights depend on.
        needs: keys of the runs that it stands on.
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
        """The name of its directory, `decoder-0123456789ab`; on own data `-CONTENT` follows."""
        content = f"-{self.content[:CONTENT_DIGITS]}" if self.content else ""
        return f"{self.stage}-{self.fingerprint}{content}"

    @property
    def steps(self) -> int:
        """How long it is trained."""
        return self.config[self.stage]["train"]["steps"]


@dataclass(frozen=True)
class PlannedPoint:
    """A point and what it is made of.

    Attributes:
        name: see `grid.point_name`.
        overrides: of the point.
        config: with all overrides.
        runs: keys by stage.
        evaluation: arguments of `dalle-jax evaluate` but for the workdir; None for no evaluation.
        judges: checkpoints of the trained networks that these name by their paths.
    """

    name: str
    overrides: Mapping[str, Any]
    config: Config
    runs: Mapping[str, str]
    evaluation: tuple[str, ...] | None
    judges: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Hash of the runs and of how they are measured: points alike in both share the result."""
        parts = [dict(self.runs), self.evaluation, *([self.judges] if self.judges else [])]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Graph:
    """All of a sweep; `runs` in an order in which each comes after those that it needs.

    `typed` are overrides of all points that make it another sweep than its file alone does.
    """

    runs: Mapping[str, StageRun]
    points: Sequence[PlannedPoint]
    typed: Mapping[str, Any] = field(default_factory=dict)

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
        config_of: overrides by knob -> the base config with them, as a plain dict.
        signature_of: a stage and the config -> the content signature of the stage's data, "" for a
            built-in data set. None takes all data as built in.

    Raises:
        ValueError: an override is wrong, or a stage is missing that another stands on.
    """
    runs: dict[str, StageRun] = {}
    bases: dict[str, Config] = {}  # by overrides of training, which many points may share
    points = []
    judges = judges_of(sweep.evaluation or {})
    for overrides in sweep.points:
        every = {**sweep.overrides, **overrides}
        training = {knob: value for knob, value in every.items() if not is_sampling(knob)}
        text = repr(training)
        if text not in bases:
            bases[text] = config_of(training)
        config = _with_sampling(bases[text], every)
        keys: dict[str, str] = {}
        for stage in _stages(sweep, config, overrides):
            run = _stage_run(stage, config, training, keys, runs, signature_of)
            keys[stage] = runs.setdefault(run.key, run).key
        evaluation = None
        if sweep.evaluation is not None:
            if "decoder" not in keys:
                raise ValueError(
                    f"a sweep of {', '.join(keys)} draws no images to evaluate; set its "
                    "evaluation=None, or let it train a decoder"
                )
            settings = {
                name: from_here(value) if name in JUDGES else value
                for name, value in sweep.evaluation.items()
            }
            evaluation = (*_options(settings), *_sampling_options(config, keys))
        name = point_name(overrides)
        points.append(PlannedPoint(name, overrides, config, keys, evaluation, judges))
    return Graph(runs, points, sweep.typed)


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
            f"{stage} stands on {missing[0]}, which the sweep does not train before it; name it "
            "first in the sweep's stages"
        )
    needs = tuple(before[name] for name in needed)
    signature = signature_of(stage, config) if signature_of else ""
    content = content_of(signature, {name: runs[before[name]].content for name in needed})
    name = fingerprint(stage, config)
    return StageRun(stage, name, overrides, config, needs, signature, content)


def _with_sampling(config: Config, overrides: Mapping[str, Any]) -> Config:
    """`config` with the overrides of sampling; a sampler's further options are no knobs of it."""
    config = json.loads(json.dumps(config))
    for knob in filter(is_sampling, overrides):
        stage, _, name = knob.split(".", 2)
        if stage not in config or "sample" not in config[stage]:
            raise ValueError(f"{knob} can't be set: the config has no {stage}.sample")
        config[stage]["sample"][name] = overrides[knob]
    return config


def _sampling_options(config: Config, stages: Mapping[str, str]) -> list[str]:
    """All that the stages are sampled with: a shared run's own config may be another point's."""
    options = []
    for stage in stages:
        if stage in NOT_DRAWN_WITH:
            continue
        prefix = "" if stage == "decoder" else f"{stage}."
        for name, value in config[stage].get("sample", {}).items():
            options.append(f"--{prefix}{name}={override_text(value)}")
    return options


def is_free(knob: str) -> bool:
    """Whether a knob says how a training is watched or laid out alone, so that no number changes.

    Such are the data's folder (`data.dir`) and the length of log intervals.
    """
    section, name, of_training, *_ = (*knob.split("."), "", "")
    if section == "data":
        return name in FREE_DATA_KNOBS
    return name == "train" and of_training in FREE_TRAIN_KNOBS


def judges_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Checkpoints of the runs that an evaluation names as `features` and `clip`, where they are."""
    found = []
    for option in JUDGES:
        path = Path(settings.get(option, ""))
        directories = (path, *(path / stage for stage in STAGES_OF_JUDGES))
        trained = (d for d in directories if option in settings and (d / "config.json").exists())
        # The first, which is the one that measures; see `evaluation.networks.open_features`.
        found += [open_run(directory).checkpoint_name for directory in itertools.islice(trained, 1)]
    return tuple(found)


def from_here(path: str) -> str:
    """A path from the working directory where it lies below that, else from the root.

    So what is measured goes by the run that it names, however that was typed. Links are kept, but
    for those that lead to the working directory itself.
    """
    absolute = Path(os.path.abspath(path))
    for parent in absolute.parents:
        if parent.exists() and parent.samefile("."):
            return str(absolute.relative_to(parent))
    return str(absolute)


def _options(settings: Mapping[str, Any]) -> list[str]:
    """Settings as they are typed: `--n=256`, a True as `--leakage`, [0, 1] as `--seeds=0,1`."""
    options = []
    for name, value in settings.items():
        if name in WITH_COMMAS and isinstance(value, Iterable) and not isinstance(value, str):
            value = ",".join(map(str, value))
        options.append(f"--{name}" if value is True else f"--{name}={override_text(value)}")
    return options


def setting_columns(graph: Graph) -> dict[str, str]:
    """The column of each setting that differs between the points."""
    return short_names(list(dict.fromkeys(k for p in graph.points for k in p.overrides)))


def short_names(settings: Sequence[str]) -> dict[str, str]:
    """Each setting's last part, or the setting itself where others end alike."""
    last = [name.rpartition(".")[2] for name in settings]
    return {name: end if last.count(end) == 1 else name for name, end in zip(settings, last)}
