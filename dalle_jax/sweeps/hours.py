"""What a sweep will cost: floating-point operations, and hours.

A step's operations are those of its program before optimization, counted by XLA without compiling
it; before a sweep, where that was not counted yet, they are estimated (`cost.estimate`). Hours
are operations over the rate at which this machine trained before: that of earlier runs, from their
logs, of the same stage where there are any. Where none was trained on it, the rate is another
machine's, and says so; where there are no runs at all, see `sweeps.machine_rate`.
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
from dalle_jax.stages.graph import drawing_chain, drawing_names
from dalle_jax.sweeps.graph import PlannedPoint, StageRun
from dalle_jax.sweeps.progress import read_curves
from dalle_jax.sweeps.record import read_attempts

NUM_CAPTIONS = 512  # that `dalle-jax evaluate` draws by default


class Counts:
    """Operations by run, counted once and stored in a file."""

    def __init__(self, path: Path):
        self._path = path
        self._counts = json.loads(path.read_text()) if path.exists() else {}

    def training(self, run: StageRun) -> float:
        """Of the whole training of a stage, as XLA counts them."""
        key = _key("step", run.stage, run.config)
        if key not in self._counts:
            self._keep({key: step_flops(run.stage, run.config)})
        return run.steps * self._counts[key]

    def counted(self, run: StageRun) -> float | None:
        """The same where it was counted before, None where it was not; nothing is counted now."""
        of_step = self._counts.get(_key("step", run.stage, run.config))
        return None if of_step is None else run.steps * of_step

    def step(self, stage_name: str, config: Config) -> float:
        """Of a step of training: as it was counted before, else estimated."""
        return self._known("step", stage_name, config)

    def forward(self, stage_name: str, config: Config) -> float:
        """Of the loss of one item without its gradient: as counted before, else estimated."""
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


def drawing_flops(point: PlannedPoint, counts: Counts, drawn: set[str] | None = None) -> float:
    """Of an evaluation's images: of each stage that draws, as many forward passes as it says.

    Args:
        point: that is measured.
        counts: of operations.
        drawn: what stages before the main one, as priors, have drawn for earlier points, to which
            this one's is added: of the same weights a process draws the same embeddings once.
    """
    drawn = set() if drawn is None else drawn
    if point.evaluation is None:
        return 0.0
    evaluation = evaluation_of(Path(), *point.evaluation)
    n, seeds = evaluation.n or NUM_CAPTIONS, evaluation.seeds
    chain = drawing_chain({name: build_stage(name, point.config) for name in point.runs})
    total = 0.0
    for name, stage in chain.items():
        sampling = dict(sampling_of(name, point.config))
        sampling.pop("weights", None)  # which of a stage's weights draw is no setting of sampling
        passes = stage.passes(**sampling)
        if name not in drawing_names(chain):
            embeddings = json.dumps([name, dict(point.runs), sampling, n, seeds], sort_keys=True)
            passes = 0 if embeddings in drawn else passes
            drawn.add(embeddings)
        if passes:
            total += n * len(seeds) * passes * counts.forward(name, point.config)
    return total


class Rate(NamedTuple):
    """At which a stage was trained.

    Attributes:
        flops: operations a second.
        elsewhere: on what, in words, where it is another machine or not known; "" for this one.
    """

    flops: float
    elsewhere: str = ""


def measured_rates(workdirs: Iterable[Path], counts: Counts, here: str) -> dict[str, Rate]:
    """The rates that stages were trained at: of each stage's newest run here, else of its newest.

    The median over its log points, in which validation and saving are not counted.

    Args:
        workdirs: that hold runs.
        counts: of operations.
        here: the machine that a training would run on, and its host, as `trained_on` tells it.
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
    """The machine and host of the attempts at a run of a sweep; "" where they do not tell.

    A run that was trained by `dalle-jax train` has none.
    """
    attempts = read_attempts(run.parent.parent / "jobs" / run.name)
    told = (
        ", ".join(filter(None, (attempt.get("machine"), attempt.get("host"))))
        for attempt in attempts
    )
    return " and ".join(dict.fromkeys(filter(None, told)))


def _rate(run: Path, counts: Counts, known: Container[str]) -> tuple[str, float] | None:
    """The stage of a run and its rate; None where that can't be told, or the stage is known."""
    _, speeds = read_curves(run).get("images_per_second", ((), ()))
    if not speeds or not (run / "config.json").exists():
        return None
    try:
        opened = open_run(run)
    except ValueError:  # of another format
        return None
    if opened.stage_name in known:
        return None
    operations = counts.step(opened.stage_name, opened.config)
    batch_size = opened.config[opened.stage_name]["train"]["batch_size"]
    return opened.stage_name, operations / batch_size * statistics.median(speeds)
