"""Raw weights in the place of their average (EMA), to see what the average is worth."""

import dataclasses

from dalle_jax.pipelines.system import System

WEIGHTS = ("ema", "raw")


def choose_weights(system: System, weights: str) -> System:
    """The system on its EMA weights, as it was loaded, or on raw ones.

    CLIP keeps its average: it is what the stages that stand on it were trained with.

    Raises:
        ValueError: there are no such weights.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}; known are {', '.join(WEIGHTS)}")
    if weights == "ema":
        return system
    params = dict(system.params)
    for name, run in system.runs.items():
        if name == "joint":  # the last, whose weights are those of prior and decoder
            params |= run.load_params("raw")
        elif name != "clip":
            params[name] = run.load_params("raw")
    return dataclasses.replace(system, params=params)


def weights_of(stage: str, weights: str) -> str:
    """Which weights of a stage `choose_weights` takes."""
    return "ema" if stage == "clip" else weights
