"""Sampling settings of a call, by stage, checked before anything is compiled."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.nearest import nearest
from dalle_jax.pipelines.arguments import check_source
from dalle_jax.pipelines.system import find_stages
from dalle_jax.stages import sampling_of
from dalle_jax.stages.base import Stage
from dalle_jax.stages.denoising import setting_names
from dalle_jax.stages.graph import image_stages, main_stage

Stages = Mapping[str, Stage]
Settings = dict[str, tuple[tuple[str, Any], ...]]  # by stage, hashable

CONDITION_OPTIONS = ("embedding", "images", "until")
# The options of a call of the pipeline that are no settings of a stage.
CALL_OPTIONS = (
    *("negative_prompt", "num_images_per_prompt", "seed", "callback_on_step_end"),
    *("progress", "output", "output_type"),
    *("sample_index", "negative_prompts", "batch_size"),
    *CONDITION_OPTIONS,
)


def by_stage(stages: Stages, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings by stage; those of the main stage may be given without its name.

    Numbers and arrays of numpy and jax become Python's.

    Raises:
        ValueError: the settings of a stage are no mapping, there is no such stage, or a setting is
            given twice.
    """
    settings = plain(settings)
    given = {name: settings[name] for name in stages if name in settings}
    for name, value in given.items():
        if not isinstance(value, Mapping):
            raise ValueError(
                f"settings of {name} are given by their names, as --{name}.guidance_scale=2 or "
                f'{name}={{"guidance_scale": 2.0}}; got {value!r}'
            )
    rest = {name: value for name, value in settings.items() if name not in given}
    if absent := [name for name, value in rest.items() if isinstance(value, Mapping)]:
        raise ValueError(
            f"there is no stage {absent[0]!r} here to give settings to; there are "
            f"{', '.join(stages)}{nearest(absent[0], stages)}"
        )
    main = main_stage(stages)
    of_main = given.get(main, {})
    if twice := [name for name in of_main if name in rest]:
        raise ValueError(f"{twice[0]} of {main} is given twice; leave one of the two out")
    return {**given, main: {**rest, **of_main}} if main else given


def as_given(
    stages: Stages, defaults: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All settings of a call, defaults included, in the form that `by_stage` reads."""
    given, main = by_stage(stages, settings), main_stage(stages)
    others = {
        name: {**defaults[name], **given.get(name, {})}
        for name in stages
        if name != main and (defaults[name] or name in given)
    }
    return {**defaults[main], **given[main], **others}


def checked_settings(
    stages: Stages, defaults: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> Settings:
    """Each stage's sampling settings: its defaults, replaced by what `settings` gives.

    Raises:
        ValueError: a stage has no such setting (the nearest one is named), or can't sample with a
            value.
    """
    given = by_stage(stages, settings)
    for name, of_stage in given.items():
        _check_names(name, stages, of_stage)
    checked = {}
    for name, stage in stages.items():
        of_stage = {**defaults[name], **given.get(name, {})}
        # Lists, which JSON makes of tuples, have no hash to find a compiled program by.
        for key, value in of_stage.items():
            if isinstance(value, list | np.ndarray):
                of_stage[key] = tuple(value)
        _check_numbers(name, stage, of_stage)
        try:
            stage.check_settings(**of_stage)
        except TypeError as error:  # a value has the wrong type, or a setting is missing
            missing = [key for key in _required(stage) if key not in of_stage]
            what = f"lack {missing[0]}" if missing else f"can't be used: {error}"
            raise ValueError(f"the settings of {name} {what}") from error
        checked[name] = tuple(sorted(of_stage.items()))
    return checked


def check_sampling(workdir: Path, settings: Mapping[str, Any]) -> None:
    """Raise for options of a call that the trained stages of a workdir can't sample with.

    No weights are loaded.

    Raises:
        FileNotFoundError: nothing was trained there.
        ValueError: a setting is unknown, or has an impossible value.
    """
    runs, stages = find_stages(workdir)
    check_source(stages, settings.get("embedding"), settings.get("images"))
    defaults = {name: sampling_of(name, runs[name].config) for name in stages}
    check_settings(stages, defaults, settings)
    last, known = settings.get("until"), image_stages(stages)
    if last is not None and last not in known:
        raise ValueError(
            f"{workdir} has no trained stage {last!r} that makes images; it has {', '.join(known)}"
            f"{nearest(last, known)}"
        )


def check_settings(
    stages: Stages, defaults: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]
) -> None:
    """Raise ValueError for options of a call whose settings `checked_settings` refuses."""
    of_stages = {key: value for key, value in settings.items() if key not in CONDITION_OPTIONS}
    checked_settings(stages, defaults, of_stages)


def check_sampling_defaults(name: str, stage: Stage, settings: Mapping[str, Any]) -> None:
    """Raise ValueError for a config's `sample` settings that its stage can't sample with."""
    checked_settings({name: stage}, {name: settings}, {})


def settings_of(stage: Stage | type[Stage]) -> tuple[str, ...]:
    """The names of all settings that a stage's `sample` takes."""
    parameters = inspect.signature(stage.check_settings).parameters.values()
    named = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return tuple(dict.fromkeys((*named, *(setting_names() if open_ended else ()))))


def plain(value: Any) -> Any:
    """A setting with Python's numbers and lists in place of those of numpy and jax."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def _required(stage: Stage) -> list[str]:
    """The names of the settings that a stage has no default for."""
    functions = [stage.check_settings]
    if stage.denoising is not None:
        functions.append(stage.denoising.check)
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]


def _check_names(name: str, stages: Stages, given: Mapping[str, Any]) -> None:
    known = settings_of(stages[name])
    for key in given:
        if key in known:
            continue
        if owners := [other for other in stages if key in settings_of(stages[other])]:
            raise ValueError(
                f'{name} has no option "{key}", {owners[0]} has: give {owners[0]}={{"{key}": …}}'
            )
        # The main stage's settings are given beside the options of the call and the stages' names.
        everything = (*known, *CALL_OPTIONS, *stages) if name == main_stage(stages) else known
        if key in CALL_OPTIONS:
            raise ValueError(f'"{key}" is no setting of {name}: give it beside {name}={{…}}')
        hint = nearest(key, everything) or f"; it takes {', '.join(known) or 'none'}"
        if key == "generator":
            hint = ": give seed, a whole number or a list of one for each image"
        raise ValueError(f'{name} has no option "{key}"{hint}')


def _check_numbers(name: str, stage: Stage, settings: Mapping[str, Any]) -> None:
    parameters = inspect.signature(stage.sample).parameters
    for key, value in settings.items():
        number = key in parameters and parameters[key].annotation in (int, float)
        if number and isinstance(value, str):
            raise ValueError(f"{key} of {name} is a number; got {value!r}")
