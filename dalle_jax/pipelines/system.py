"""The trained stages of a workdir: which of them sample together, with which weights.

caption → tokens → (CLIP's text embedding → prior → image embedding) → decoder → upsamplers
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from dalle_jax.runs import Run, runs_in
from dalle_jax.runs.workdir import upstream_names
from dalle_jax.stages import STAGES
from dalle_jax.stages.base import Stage
from dalle_jax.stages.graph import image_stages, main_stage, sampling_chain

WEIGHTS = ("ema", "raw")


@dataclass(frozen=True)
class System:
    """Stages by name, in the order in which they sample, with their weights.

    Attributes:
        runs: the run of each stage, and the runs that continued some of them.
        stages: as their configs build them, see `stages.graph.sampling_chain`.
        params: EMA weights. Those of a stage that was continued come from the continued run.
    """

    runs: Mapping[str, Run]
    stages: Mapping[str, Stage]
    params: Mapping[str, Any]

    @property
    def main(self) -> str:
        """The first stage that makes an image; its settings need no stage name."""
        return main_stage(self.stages)

    @property
    def image_stages(self) -> tuple[str, ...]:
        """The main stage and those that continue from its images."""
        return image_stages(self.stages)

    @property
    def reads_embeddings(self) -> bool:
        """Whether the main stage is conditioned on image embeddings."""
        return "image_embedding" in self.stages[self.main].takes


def load_system(workdir: str | Path, *, joint: bool = True) -> System:
    """The trained system in a workdir; with `joint=False` without runs that continue others.

    Raises:
        FileNotFoundError: no stage makes images, or an upstream stage is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    workdir = Path(workdir).expanduser()
    runs, stages = find_stages(workdir)
    params = {name: run.load_params() for name, run in runs.items()}
    if joint:
        for name, run in runs_in(workdir).items():
            continues = STAGES[run.stage_name].continues
            if run.step and continues and set(continues) <= runs.keys():
                run.upstream()
                params |= run.load_params()
                runs[name] = run
    return System(runs, stages, params)


def find_stages(workdir: Path) -> tuple[dict[str, Run], dict[str, Stage]]:
    """The runs of a workdir that sample together, and their stages; loads no weights.

    Raises:
        FileNotFoundError: no stage makes images, or an upstream stage is missing.
        ValueError: two stages do not fit each other; the message names both.
    """
    found = runs_in(workdir)
    trained = {name: run for name, run in found.items() if run.step}
    built = {name: run.build_stage() for name, run in trained.items()}
    stages = sampling_chain(built)
    if not stages:
        if incomplete := main_stage(built):
            trained[incomplete].upstream()  # raises an error that names the missing run
        message = f"{workdir} holds no trained stage that makes images"
        untrained = [name for name in found if name not in trained]
        if untrained:
            message += f": {found[untrained[0]].directory} has no checkpoint yet"
        raise FileNotFoundError(f"{message}; train one with `dalle-jax train`")
    for name in stages:
        found[name].upstream()  # checks that upstream runs exist and fit
    _check_sizes(stages)
    return {name: found[name] for name in stages}, stages


def _check_sizes(stages: Mapping[str, Stage]) -> None:
    """Check that each upsampler was trained on images of the size that the stage before makes."""
    before, side = "", 0
    for name, stage in stages.items():
        if "low_res" in stage.takes and stage.low_res_size != side:
            raise ValueError(
                f"{name} was trained on images of {stage.low_res_size} pixels and {before} "
                f"makes images of {side}; train one that fits the other"
            )
        if "image" in stage.gives:
            before, side = name, stage.image_shape[0]


def overview(system: System, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    """The stages of a system: parameters, size of the images, and default sampling, a line each."""
    lines = []
    for name, stage in system.stages.items():
        count = sum(leaf.size for leaf in jax.tree.leaves(system.params[name]))
        says = [f"{count:,} parameters"]
        if "image" in stage.gives:
            says.append("images of {} × {} pixels".format(*stage.image_shape))
        if steps := defaults[name].get("num_inference_steps"):
            says.append(f"{steps} steps of {defaults[name]['sampler']}")
        lines.append(f"{name}: {', '.join(says)}")
    return "\n".join(lines)


def choose_weights(system: System, weights: str) -> System:
    """The system with its EMA weights, as loaded, or with raw ones; see `weights_of`.

    Raises:
        ValueError: there are no such weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known are {', '.join(WEIGHTS)}")
    if weights == "ema":
        return system
    params = dict(system.params)
    for name, run in system.runs.items():  # runs that continue others come last
        if weights_of(system, name, weights) == "raw":
            raw = run.load_params("raw")
            params |= raw if STAGES[run.stage_name].continues else {name: raw}
    return dataclasses.replace(system, params=params)


def weights_of(system: System, name: str, weights: str) -> str:
    """Which weights `choose_weights` takes for a stage.

    A stage upstream of others, such as CLIP, keeps its EMA weights: the others were trained with
    them. Of an exported run they are what was exported.
    """
    chosen = "ema" if name in upstream_names(system.runs) else weights
    return system.runs[name].exported_as or chosen
