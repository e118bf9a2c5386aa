"""The expected cost of a sweep in floating-point operations and hours.

A step's operations are those of its program before optimization, counted by XLA without compiling
it; before a sweep, where that was not counted yet, they are estimated (`cost.estimate`). Hours
are operations over the rate at which this machine trained before: that of earlier runs, from their
logs, of the same stage where there are any. Where none was trained on it, the rate is another
machine's, and says so; without any runs see `sweeps.machine_rate`.
"""

import json
import statistics
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from dalle_jax.cost.abstract import Config
from dalle_jax.cost.estimate import estimated_operations, shape_of
from dalle_jax.cost.flops import step_flops
from dalle_jax.evaluation.options import evaluation_of
from dalle_jax.files import write_atomically
from dalle_jax.runs import open_run
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.stages import build_stage, sampling_of
from dalle_jax.stages.graph import image_stages, sampling_chain
from dalle_jax.sweeps.progress import read_curves
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.shared_runs import PlannedPoint, StageRun

NUM_CAPTIONS = 512  # of `dalle-jax evaluate` by default


class Counts:
    """Operations by run, counted once and stored in a file."""

    def __init__(self, path: Path):
        self._path = path
        self._counts = json.loads(path.read_text()) if path.exists() else {}

    def training(self, run: StageRun) -> float:
        """Operations of the whole training of a stage, counted by XLA."""
        key = _key("step", run.stage, run.config)
        if key not in self._counts:
            self._keep({key: step_flops(run.stage, run.config)})
        return run.steps * self._counts[key]

    def counted(self, run: StageRun) -> float | None:
        """The same if it was counted before, else None."""
        of_step = self._counts.get(_key("step", run.stage, run.config))
        return None if of_step is None else run.steps * of_step

    def step(self, stage_name: str, config: Config) -> float:
        """Operations of a training step: as counted before, else estimated."""
        return self._known("step", stage_name, config)

    def forward(self, stage_name: str, config: Config) -> float:
        """Operations of the loss of one item without its gradient, likewise."""
        return self._known("forward", stage_name, config)

    def _known(self, what: str, stage_name: str, config: Config) -> float:
        counted = self._counts.get(_key(what, stage_name, config))
        if counted is not None:
            return counted
        shape = f"{stage_name} {shape_of(stage_name, config)}"
        if f"estimated {what} {shape}" not in self._counts:
            forward, step = estimated_operations(stage_name, config)
            self._keep({f"estimated forward {shape}": forward, f"estimated step {shape}": step})
        return self._counts[f"estimated {what} {shape}"]

    def _keep(self, counts: Mapping[str, float]) -> None:
        self._counts |= counts
        text = json.dumps(self._counts, indent=1)
        write_atomically(self._path, lambda file: file.write(text.encode()))


def _key(what: str, stage_name: str, config: Config) -> str:
    return f"{what} {stage_name}-{fingerprint(stage_name, config)}"


def sampling_flops(point: PlannedPoint, counts: Counts, sampled: set[str] | None = None) -> float:
    """Operations of sampling an evaluation's images: of each stage its number of forward passes.

    `sampled` is what stages before the main one, such as priors, have sampled for earlier points;
    this point's is added, since a process samples the same embeddings only once.
    """
    sampled = set() if sampled is None else sampled
    if point.evaluation is None:
        return 0.0
    evaluation = evaluation_of(Path(), *point.evaluation)
    n, seeds = evaluation.n or NUM_CAPTIONS, evaluation.seeds
    chain = sampling_chain({name: build_stage(name, point.config) for name in point.runs})
    total = 0.0
    for name, stage in chain.items():
        sampling = dict(sampling_of(name, point.config))
        sampling.pop("weights", None)  # which weights to use is not a setting of the sampler
        passes = stage.passes(**sampling)
        if name not in image_stages(chain):
            embeddings = json.dumps([name, dict(point.runs), sampling, n, seeds], sort_keys=True)
            passes = 0 if embeddings in sampled else passes
            sampled.add(embeddings)
        if passes:
            total += n * len(seeds) * passes * counts.forward(name, point.config)
    return total


class Rate(NamedTuple):
    """The speed at which a stage was trained.

    Attributes:
        flops: operations a second.
        elsewhere: the machine, if it is another or unknown; "" for this one.
    """

    flops: float
    elsewhere: str = ""


def measured_rates(workdirs: Iterable[Path], counts: Counts, here: str) -> dict[str, Rate]:
    """The rates of stages: of each one's newest run on this machine, else of its newest run.

    A rate is the median over log points, in which validation and saving are not counted. `here` is
    the machine and host that a training would run on, as `trained_on` gives it.
    """
    runs = [path.parent for root in workdirs for path in root.glob("*/metrics.jsonl")]
    newest = sorted(runs, key=lambda run: (run / "metrics.jsonl").stat().st_mtime, reverse=True)
    rates: dict[str, Rate] = {}
    for run in sorted(newest, key=lambda run: trained_on(run) != here):
        if (found := _rate(run, counts, rates.keys())) is not None:
            stage, flops = found
            of = trained_on(run)
            rates[stage] = Rate(flops, "" if of == here else of or "a machine that is not known")
    return rates


def trained_on(run: Path) -> str:
    """The machine and host of the attempts at a run; "" if unknown, as for `dalle-jax train`."""
    attempts = read_attempts(run.parent.parent / "jobs" / run.name)
    machines = (
        ", ".join(filter(None, (attempt.get("machine"), attempt.get("host"))))
        for attempt in attempts
    )
    return " and ".join(dict.fromkeys(filter(None, machines)))


def _rate(run: Path, counts: Counts, known: Container[str]) -> tuple[str, float] | None:
    """The stage of a run and its rate; None if that is unknown, or the stage's is known already."""
    _, speeds = read_curves(run).get("images_per_second", ((), ()))
    if not speeds or not (run / "config.json").exists():
        return None
    try:
        loaded = open_run(run)
    except ValueError:  # of another format
        return None
    if loaded.stage_name in known:
        return None
    operations = counts.step(loaded.stage_name, loaded.config)
    batch_size = loaded.config[loaded.stage_name]["train"]["batch_size"]
    return loaded.stage_name, operations / batch_size * statistics.median(speeds)
