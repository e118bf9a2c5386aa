"""`--workdir`: a figure that is made from a trained system instead of one it trains."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.config.load import PREFIX
from dalle_jax.pipelines.system import find_stages
from dalle_jax.runs import Run, open_run
from dalle_jax.stages.graph import main_stage
from dalle_jax.sweeps.directories import find_reusable
from dalle_jax.sweeps.grid import Sweep, is_sampling
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.shared_runs import Graph


def open_trained(workdir: Path, overrides: Sequence[str]) -> Run:
    """The main run of a trained system; refuses overrides of its training."""
    for option in overrides:
        if not is_sampling(option.removeprefix(PREFIX)):
            raise ValueError(f"{workdir} is trained already, so {option} can't be set")
    runs, stages = find_stages(workdir)
    return runs[main_stage(stages)]


def sweep_of_trained(sweep: Sweep, path: Path, workdir: Path, base: Mapping[str, Any]) -> Sweep:
    """The sweep of a figure over the stages that are trained in a workdir."""
    varied = [name for point in sweep.points for name in point if not is_sampling(name)]
    if varied:
        raise ValueError(
            f"{path.stem} varies {varied[0]}, so it trains its own systems; leave out --workdir, "
            "or give --reuse for what fits"
        )
    wanted = sweep.stages or base["stages"]
    return dataclasses.replace(
        sweep,
        stages=tuple(stage for stage in wanted if (workdir / stage / "config.json").exists()),
        overrides={name: v for name, v in sweep.overrides.items() if is_sampling(name)},
    )


def check_trained(graph: Graph, layout: SweepLayout, workdir: Path) -> None:
    """Refuse a system that is not trained to its end."""
    reusable = find_reusable(layout, graph, [workdir])
    for key, stage_run in graph.runs.items():
        if key not in reusable and not layout.is_trained(stage_run):
            directory = workdir / stage_run.stage
            raise ValueError(
                f"{directory} is at step {open_run(directory).step} of {stage_run.steps}; "
                "train it to its end first"
            )
