"""What runs after each step of sampling: the caller's function, which may change the rest, and a
progress bar."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from dalle_jax import console
from dalle_jax.diffusion.guidance import check_guidance
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.programs import Change, OnStep, Step

# (pipe, step from 0, time, kwargs) → kwargs with changes, or None
Callback = Callable[[Any, int, float, dict[str, Any]], Mapping[str, Any] | None]
WANTED = "a function of (pipe, step, time, kwargs)"
CHANGES = ("guidance_scale", "stop")


def check_callback(callback: Any) -> None:
    """Raise ValueError unless it can be called as a `Callback`, or is None."""
    if callback is None:
        return
    if not callable(callback):
        raise ValueError(f"callback_on_step_end is {callback!r}; it must be {WANTED}")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(None, 0, 1.0, {})
    except TypeError as error:
        raise ValueError(f"callback_on_step_end takes {signature}; it must be {WANTED}") from error


class Recorded:
    """A callback that notes in `changes` what it changed."""

    def __init__(self, callback: Callback):
        self._callback = callback
        self.changes: dict[str, None] = {}  # in order, those of several batches once

    def __call__(
        self, pipe: Any, step: int, time: float, kwargs: dict[str, Any]
    ) -> Mapping[str, Any]:
        """What the callback returns, or its kwargs."""
        before = kwargs["guidance_scale"]
        returned = self._callback(pipe, step, time, kwargs)
        returned = kwargs if returned is None else returned
        if isinstance(returned, Mapping):
            if (scale := returned.get("guidance_scale", before)) != before:
                self.changes[f"guidance_scale {scale} after step {step + 1}"] = None
            if returned.get("stop"):
                self.changes[f"stopped after step {step + 1}"] = None
        return returned


@contextlib.contextmanager
def on_steps(
    pipe: Any, callback: Callback | None, progress: bool | None, num_batches: int
) -> Iterator[Callable[[int], OnStep | None]]:
    """A function from the number of images of a batch to what runs after each of its steps.

    `progress` shows a bar; None shows it in a terminal and in a notebook.
    """
    shown = _watched() if progress is None else progress
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(desc="sampling", unit="step")) if shown else None

        def of_batch(size: int) -> OnStep | None:
            if callback is None and bar is None:
                return None

            def on_step(step: Step) -> Change:
                if bar is not None:
                    jax.block_until_ready(step.x0)
                    bar.total = step.total * num_batches
                    bar.update()
                if callback is None:
                    return Change(step.guidance_scale, False)
                return _called(callback, pipe, step, size)

            return on_step

        yield of_batch


def _called(callback: Callback, pipe: Any, step: Step, size: int) -> Change:
    """The change that a callback wants after a step."""
    kwargs = {
        "x0": to_uint8(np.nan_to_num(np.asarray(step.x0)[:size])),
        "guidance_scale": step.guidance_scale,
        "stop": False,
    }
    returned = callback(pipe, step.index, step.time, kwargs)
    returned = kwargs if returned is None else returned
    if not isinstance(returned, Mapping):
        raise ValueError(
            f"callback_on_step_end returned {returned!r}; it must return its kwargs, or None"
        )
    if unknown := [name for name in returned if name not in kwargs]:
        raise ValueError(
            f"callback_on_step_end returned {unknown[0]!r}, which can't be changed; "
            f"{' and '.join(CHANGES)} can"
        )
    scale = returned.get("guidance_scale", step.guidance_scale)
    check_guidance(scale)
    return Change(float(scale), bool(returned.get("stop", False)))


def _watched() -> bool:
    return not console.is_quiet() and (sys.stderr.isatty() or "ipykernel" in sys.modules)
