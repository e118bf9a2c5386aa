"""Raw weights in the place of their average (EMA), to see what the average is worth."""

import dataclasses

from dalle_jax.pipelines.system import System
from dalle_jax.stages import STAGES, upstream_of

WEIGHTS = ("ema", "raw")


def choose_weights(system: System, weights: str) -> System:
    """The system on its EMA weights, as it was loaded, or on raw ones; see `weights_of`.

    Raises:
        ValueError: there are no such weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known are {', '.join(WEIGHTS)}")
    if weights == "ema":
        return system
    params = dict(system.params)
    for name, run in system.runs.items():  # those that continue others come last
        if weights_of(system, name, weights) == "raw":
            raw = run.load_params("raw")
            params |= raw if STAGES[run.stage_name].continues else {name: raw}
    return dataclasses.replace(system, params=params)


def weights_of(system: System, name: str, weights: str) -> str:
    """Which weights of a stage `choose_weights` takes.

    A stage that others stand on, as CLIP, keeps its average: they were trained with it.
    """
    upstream = {
        one
        for run in system.runs.values()
        if not STAGES[run.stage_name].continues
        for one in upstream_of(run.stage_name, run.config)
    }
    return "ema" if name in upstream else weights
