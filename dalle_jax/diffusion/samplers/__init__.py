"""Sampling by any sampler of the `table`: `sample` is the one entry point."""

import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import numpy as np

from dalle_jax.diffusion.arrays import Array, Denoiser, at_least_float32
from dalle_jax.diffusion.grids import SPACINGS, grid_options, time_grid
from dalle_jax.diffusion.samplers.coefficients import Row, run, stack
from dalle_jax.diffusion.samplers.table import SAMPLERS
from dalle_jax.diffusion.samplers.unipc import correct
from dalle_jax.diffusion.schedules import Schedule


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    x_T: Array,
    *,
    sampler: str = "unipc",
    steps: int = 20,
    spacing: str | np.ndarray = "trailing",
    key: Array | None = None,
    sample_index: Array | None = None,
    callback: Callable[[int, int, Array], None] | None = None,
    project: Callable[[Array, Array], Array] | None = None,
    **options,
) -> Array:
    """Solve from x_T [B, ...], the state at the grid's first time, to x_0 [B, ...].

    `denoiser(x_t, t [B]) -> x0_hat` is called once per row of the sampler's coefficients, and
    `coefficients.advance` explains key, sample_index, callback and project. `options` are those of
    the sampler (`eta`, `order`, …) and of the spacing (`rho`, …); an unknown one is an error that
    lists the known ones. Works under jit: coefficients are computed on the host in float64 while
    tracing.
    """
    rows = sampler_rows(schedule, sampler=sampler, steps=steps, spacing=spacing, **options)
    x_T = at_least_float32(x_T)
    return run(
        stack(rows, x_T.dtype),
        denoiser,
        x_T,
        key=key,
        sample_index=sample_index,
        callback=callback,
        project=project,
    )


def network_evaluations(schedule: Schedule, **settings) -> int:
    """The number of network evaluations of `sample` with these settings."""
    return len(sampler_rows(schedule, **settings))


def sampler_rows(
    schedule: Schedule,
    *,
    sampler: str = "unipc",
    steps: int = 20,
    spacing: str | np.ndarray = "trailing",
    unic_order: int = 0,
    **options,
) -> list[Row]:
    """The table of a sampler on a grid: one row per evaluation of the network.

    `unic_order` > 0 adds UniC of that order to a deterministic sampler other than UniPC.
    """
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        raise ValueError(f'no sampler "{sampler}"; known are {", ".join(SAMPLERS)}')
    if unic_order:
        _check_kind("unic_order", unic_order, 0)
    grid_names = grid_options(spacing)
    sampler_names = tuple(inspect.signature(SAMPLERS[sampler]).parameters)[1:]
    for name, value in options.items():
        if name not in (*grid_names, *sampler_names):
            raise ValueError(
                f'sampler "{sampler}" has no option "{name}"; it takes '
                f"{', '.join(sampler_names) or 'none'}, "
                f"its time grid {', '.join(grid_names) or 'none'}"
            )
        function = SAMPLERS[sampler] if name in sampler_names else SPACINGS[spacing]
        _check_kind(name, value, inspect.signature(function).parameters[name].default)
    grid = time_grid(
        schedule, steps, spacing, **{k: v for k, v in options.items() if k in grid_names}
    )
    rows = SAMPLERS[sampler](grid, **{k: v for k, v in options.items() if k in sampler_names})
    return correct(rows, grid, unic_order) if unic_order else rows


def all_options() -> tuple[str, ...]:
    """The names of the options that any sampler or time grid takes."""
    functions = (*SAMPLERS.values(), *SPACINGS.values())
    names = [n for function in functions for n in list(inspect.signature(function).parameters)[1:]]
    return tuple(dict.fromkeys(("spacing", "unic_order", *(n for n in names if n != "steps"))))


# The accepted type, and its name in messages, by the type of an option's default. None means that
# the sampler chooses the number or the boolean itself.
_KINDS = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a name"),
    tuple: (Sequence, "several whole numbers"),
    type(None): (Real | None, "a number"),
}


def _check_kind(name: str, value: object, default: object) -> None:
    """Check that a value has the type of an option's default.

    Raises:
        ValueError: it has another type.
    """
    kind, kind_name = _KINDS[type(default)]
    odd = isinstance(value, bool) and kind in (Integral, Real)
    odd |= isinstance(value, str) and kind is not str
    if kind is Sequence:
        odd |= isinstance(value, Sequence) and any(not isinstance(n, Integral) for n in value)
    if odd or not isinstance(value, kind):
        raise ValueError(f'option "{name}" of a sampler is {kind_name}; got {value!r}')
