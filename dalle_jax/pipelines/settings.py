"""Settings of a call, checked against what each stage takes before anything is compiled."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from dalle_jax.nearest import nearest
from dalle_jax.stages.denoising import setting_names

Settings = dict[str, tuple[tuple[str, Any], ...]]


def checked_settings(
    stages: Mapping[str, Any],
    defaults: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Mapping[str, Any]],
    callables: Iterable[Callable],
) -> Settings:
    """The settings of each stage, as `system.sampler` takes them: its defaults and what is given.

    `callables` are the functions that a caller's settings may be meant for instead.

    Raises:
        ValueError: a stage has no such setting, and the nearest of all is named; or a value is
            none that it can draw with.
    """
    for name, of_stage in given.items():
        _check_names(name, stages, of_stage, callables)
    made = {}
    for name, stage in stages.items():
        settings = {**defaults[name], **given.get(name, {})}
        # What JSON made a list is a tuple again; a compiled program is found by it.
        lists = {k: tuple(v) for k, v in settings.items() if isinstance(v, list | np.ndarray)}
        settings |= lists
        _check_numbers(name, stage, settings)
        if hasattr(stage, "check_settings"):
            try:
                stage.check_settings(**settings)
            except TypeError as error:  # a value of another kind, or one that is missing
                lacks = [one for one in _needed_of(stage) if one not in settings]
                what = f"lack {lacks[0]}" if lacks else f"can't be drawn with: {error}"
                raise ValueError(f"the settings of {name} {what}") from error
        made[name] = tuple(sorted(settings.items()))
    return made


def settings_of(stage: Any) -> tuple[str, ...]:
    """The names of all that a stage's `sample` can be given; none where nothing is drawn."""
    if not hasattr(stage, "check_settings"):
        return ()
    parameters = inspect.signature(stage.check_settings).parameters.values()
    own = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return tuple(dict.fromkeys((*own, *(setting_names() if open_ended else ()))))


def _needed_of(stage: Any) -> list[str]:
    """The names of what a stage has to be given to draw."""
    functions = [stage.check_settings]
    if hasattr(stage, "denoising"):
        functions.append(stage.denoising.check)
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def keywords_of(function: Callable) -> tuple[str, ...]:
    """The names of a function's keyword arguments."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def check_count(name: str, count: int) -> None:
    """Refuse what is no whole number from 1 on."""
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:
        raise ValueError(f"{name} is {count!r}; it must be a whole number, 1 or more")


def checked_indices(sample_index: Sequence[int]) -> np.ndarray:
    """Sample indices [N] as uint32, if they are whole numbers that it holds.

    Raises:
        ValueError: one is not.
    """
    for index in sample_index:
        if not isinstance(index, Integral) or not 0 <= index < 2**32:
            raise ValueError(
                f"sample_index has {index!r}; it must be whole numbers from 0 to 2**32 − 1"
            )
    return np.asarray(sample_index, np.uint32)


def _check_names(
    name: str, stages: Mapping[str, Any], given: Mapping[str, Any], callables: Iterable[Callable]
) -> None:
    known = settings_of(stages[name])
    for key in given:
        if key in known:
            continue
        if owners := [other for other in stages if key in settings_of(stages[other])]:
            raise ValueError(
                f'{name} has no option "{key}", {owners[0]} has: give {owners[0]}={{"{key}": …}}'
            )
        # The decoder's are given without its name, beside a call's own and the stages' names.
        beside = [k for function in callables for k in keywords_of(function)]
        everything = (*known, *beside, *stages) if name == "decoder" else known
        hint = nearest(key, everything) or f"; it takes {', '.join(known) or 'none'}"
        raise ValueError(f'{name} has no option "{key}"{hint}')


def _check_numbers(name: str, stage: Any, settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(stage.sample).parameters
    for key, value in settings.items():
        number = key in parameters and parameters[key].annotation in (int, float)
        if number and isinstance(value, str):
            raise ValueError(f"{key} of {name} is a number; got {value!r}")
