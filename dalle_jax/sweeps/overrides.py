"""The configs of a sweep's points, and overrides for all points from the command line."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dalle_jax.config.load import PREFIX, flatten, load_config, parse_value
from dalle_jax.runs.fingerprint import FREE_DATA_SETTINGS, FREE_TRAIN_SETTINGS
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep


def load_point(config: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A point's config: the sweep's, or the one that the point names, with its overrides."""
    file, settings = base_of(config, overrides)
    return load_config(file, settings=settings).to_dict()


def base_of(config: Path, overrides: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The config file of a point, given the sweep's, and the overrides of its settings."""
    settings = dict(overrides)
    name = settings.pop(OTHER_CONFIG, None)
    return (config if name is None else config.parent / f"{name}.py"), settings


def with_cli_overrides(sweep: Sweep, options: Sequence[str], config: Mapping[str, Any]) -> Sweep:
    """The sweep with overrides of the command line, `--config.some.name=value`, for all points."""
    defaults, given = dict(flatten(ConfigDict(config))), {}
    for option in options:
        name, _, text = option.removeprefix(PREFIX).partition("=")
        if any(name in point for point in sweep.points):
            raise ValueError(f"{name} is what the sweep varies; it can't be set for all points")
        given[name] = parse_value(text, defaults.get(name))
    changing = {name: value for name, value in given.items() if not is_free(name)}
    overrides = {**sweep.overrides, **given}
    return dataclasses.replace(sweep, overrides=overrides, cli_overrides=changing)


def is_free(setting: str) -> bool:
    """Whether a setting affects only logging or placement, never results.

    Examples are the data's folder (`data.dir`) and the length of log intervals.
    """
    section, name, of_training, *_ = (*setting.split("."), "", "")
    if section == "data":
        return name in FREE_DATA_SETTINGS
    return name == "train" and of_training in FREE_TRAIN_SETTINGS
