"""Whether a config has the settings that all configs have, and no others."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dalle_jax.config.places import CONFIGS
from dalle_jax.nearest import nearest


def check_names(path: Path, config: ConfigDict, base: ConfigDict) -> None:
    """Refuse a config of other settings than `base` has, where those of all configs are the same.

    A misspelt one would else change nothing. Models, losses and samplers have settings of their
    own, which building a stage checks.

    Raises:
        ValueError: a setting or section is unknown or missing; the message says which.
    """
    tops = [name for name in base if name not in base.stages]
    _check_same("", tops, list(config), [*base, *config.get("stages", ())], path)
    stages = [name for name in config.stages if name in config]
    train = base[base.stages[0]].train
    for section in ("data", "tokenizer"):
        _check_section(section, config[section], base[section], path)
    for stage in stages:
        own = config[stage]
        if not isinstance(own, ConfigDict) or "train" not in own:
            raise ValueError(f"{path} has no section config.{stage}.train; take one of {CONFIGS}")
        _check_section(f"{stage}.train", own.train, train, path)
        _check_same(f"{stage}.data.", [], list(own.get("data", ())), list(base.data), path)


def _check_section(name: str, section: Any, base: ConfigDict, path: Path) -> None:
    if not isinstance(section, ConfigDict):
        raise ValueError(f"config.{name} of {path} is {section!r}; it must be a ConfigDict")
    _check_same(f"{name}.", list(base), list(section), list(base), path)
    for key, value in base.items():
        if isinstance(value, ConfigDict):
            _check_section(f"{name}.{key}", section[key], value, path)


def _check_same(
    prefix: str, needed: list[str], given: list[str], known: list[str], path: Path
) -> None:
    """Refuse names that are not known, and the lack of needed ones."""
    for name in given:
        if name not in known:
            hint = nearest(name, known) or f"; known are {', '.join(known)}"
            raise ValueError(f"{path} has config.{prefix}{name}, which is no setting{hint}")
    for name in needed:
        if name not in given:
            raise ValueError(f"{path} lacks config.{prefix}{name}, which {CONFIGS}/base.py has")
