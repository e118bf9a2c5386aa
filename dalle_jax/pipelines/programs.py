"""Compiled programs of stages, and sampling by them at once or step by step.

Numbers are arguments of a program, not parts of it: another guidance scale, η, seed, number of
steps or time grid compiles nothing, and neither does a function that is called after each step.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from dalle_jax.stages.base import Stage


class Step(NamedTuple):
    """The state of sampling after a step of the main stage's sampler."""

    index: int  # from 0
    total: int  # network evaluations of the call
    time: float  # at which the network was evaluated, 1 is noise and 0 the image
    x0: Array  # the current estimate of the images, float32 [B, H, W, 3]
    guidance_scale: float


class Change(NamedTuple):
    """What is to change after a step."""

    guidance_scale: float
    stop: bool  # whether the current estimate of the images is the result


OnStep = Callable[[Step], Change]


def sampled(
    stage: Stage,
    params: Any,
    inputs: Mapping[str, Any],
    key: Array,
    settings: Mapping[str, Any],
    on_step: OnStep | None = None,
) -> Any:
    """The outputs of `stage.sample` with these settings, by a compiled program.

    With `on_step`, the same program runs one step at a time, if the stage samples in steps.
    """
    arrays, fixed = _split(stage.as_arrays(settings))
    if not stage.samples_in_steps():
        return compiled(stage.sample, fixed)(params, inputs, key, **arrays)
    count = arrays.pop("num_evaluations")
    state = compiled(stage.start)(params, inputs, key, table=arrays["table"])
    advance = compiled(stage.advance, fixed)
    if on_step is None:
        return advance(params, inputs, key, state, np.int32(0), count, **arrays).x
    scale = settings.get("guidance_scale", 1.0)
    for i in range(int(count)):
        state = advance(params, inputs, key, state, np.int32(i), np.int32(i + 1), **arrays)
        step = Step(i, int(count), float(arrays["table"]["t"][i]), state.x0, scale)
        change = on_step(step)
        if change.stop:
            return state.x0
        if change.guidance_scale != scale:
            scale = change.guidance_scale
            if "guidance_scale" in arrays:  # also 1: the program that is there
                arrays["guidance_scale"] = np.asarray(scale, np.float32)
            else:
                arrays, fixed = _split(stage.as_arrays({**settings, "guidance_scale": scale}))
                del arrays["num_evaluations"]
                advance = compiled(stage.advance, fixed)
    return state.x


@functools.lru_cache(maxsize=64)
def compiled(function: Callable, fixed: tuple[tuple[str, Any], ...] = ()) -> Callable:
    """`function` with the settings `fixed`, compiled.

    Its outputs are on the weights' devices also if it does not read the weights: what one program
    of a stage makes is placed as another one's output, or each place would compile it again.
    """
    return jax.jit(functools.partial(function, **dict(fixed)), keep_unused=True)


def _split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, Any], ...]]:
    """(The settings that are arrays, and the others, which are part of the program.)"""
    arrays = {
        name: value
        for name, value in settings.items()
        if all(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(value))
    }
    return arrays, tuple(sorted((n, v) for n, v in settings.items() if n not in arrays))
