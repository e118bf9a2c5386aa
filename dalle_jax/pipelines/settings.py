"""Settings of a call, checked against what each stage takes before anything is compiled."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dalle_jax.nearest import nearest
from dalle_jax.seeds import as_whole
from dalle_jax.stages.denoising import setting_names
from dalle_jax.stages.graph import main_stage

Settings = dict[str, tuple[tuple[str, Any], ...]]

# What a call fills in, and what it is given for that.
FILLED = {
    "prompts": "prompt",
    "negative_prompts": "negative_prompt",
    "sample_index": "num_images_per_prompt",
}


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
    parameters = inspect.signature(stage.check_settings).parameters.values()
    own = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return tuple(dict.fromkeys((*own, *(setting_names() if open_ended else ()))))


def _needed_of(stage: Any) -> list[str]:
    """The names of what a stage has to be given to draw."""
    functions = [stage.check_settings]
    if stage.denoising is not None:
        functions.append(stage.denoising.check)
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def keywords_of(function: Callable) -> tuple[str, ...]:
    """The names of a function's keyword arguments."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def checked_count(name: str, count: int) -> int:
    """`count` as an int, if it is a whole number from 1 on.

    Raises:
        ValueError: it is not.
    """
    number = as_whole(count)
    if number is None or number < 1:
        raise ValueError(f"{name} is {count!r}; it must be a whole number, 1 or more")
    return number


def checked_texts(name: str, texts: str | Sequence[str]) -> list[str]:
    """One text, or several, as a list.

    Raises:
        ValueError: it is something else, or holds something else.
    """
    if isinstance(texts, str):
        return [texts]
    several = isinstance(texts, Iterable) and not isinstance(texts, Mapping | bytes)
    found = list(texts) if several else [texts]
    for text in found:
        if not several or not isinstance(text, str):
            raise ValueError(f"{name} is or has {text!r}; it must be a text or a list of texts")
    return found


def check_not_filled(settings: Mapping[str, Any]) -> None:
    """Refuse settings of a call that it fills in itself for `generate_all`.

    Raises:
        ValueError: there is one.
    """
    for name, meant in FILLED.items():
        if name in settings:
            raise ValueError(f'"{name}" is no option of a call: give {meant}, or call generate')


def check_callback(callback: Any) -> None:
    """Refuse what can't be called with (step, total, x0_preview).

    Raises:
        ValueError: it can't.
    """
    if callback is None:
        return
    wanted = "a function of (step, total, x0_preview)"
    if not callable(callback):
        raise ValueError(f"callback is {callback!r}; it must be {wanted}")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # of some that are written in C
        return
    try:
        signature.bind(1, 1, None)
    except TypeError as error:
        raise ValueError(f"callback takes {signature}; it must be {wanted}") from error


def check_numbers_of(wanted: str, count: int, **lists: Sequence[Any] | None) -> None:
    """Refuse lists that do not have one item for each of `count`, which `wanted` names.

    Raises:
        ValueError: one has not.
    """
    for name, items in lists.items():
        if items is not None and not hasattr(items, "__len__"):
            raise ValueError(f"{name} is {items!r}; it must be a list, an item for each {wanted}")
        if items is not None and len(items) != count:
            raise ValueError(
                f"{len(items)} {name} do not fit {count} {wanted}s; give one for each {wanted}"
            )


def plain(value: Any) -> Any:
    """A setting without arrays and numbers of numpy and jax, as records and tables hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def checked_indices(sample_index: Sequence[int]) -> np.ndarray:
    """Sample indices [N] as uint32, if they are whole numbers that it holds.

    Raises:
        ValueError: one is not.
    """
    indices = [as_whole(index) for index in sample_index]
    for index, given in zip(indices, sample_index):
        if index is None or not 0 <= index < 2**32:
            raise ValueError(
                f"sample_index has {given!r}; it must be whole numbers from 0 to 2**32 − 1"
            )
    return np.asarray(indices, np.uint32)


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
        # The main stage's are given without its name, beside a call's own and the stages' names.
        beside = [k for function in callables for k in keywords_of(function)]
        everything = (*known, *beside, *stages) if name == main_stage(stages) else known
        if key in beside:
            raise ValueError(f'"{key}" is no setting of {name}: give it beside {name}={{…}}')
        hint = nearest(key, everything) or f"; it takes {', '.join(known) or 'none'}"
        raise ValueError(f'{name} has no option "{key}"{hint}')


def _check_numbers(name: str, stage: Any, settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(stage.sample).parameters
    for key, value in settings.items():
        number = key in parameters and parameters[key].annotation in (int, float)
        if number and isinstance(value, str):
            raise ValueError(f"{key} of {name} is a number; got {value!r}")
