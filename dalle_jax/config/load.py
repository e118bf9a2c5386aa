"""A config file and the overrides typed after it, as one locked ConfigDict."""

import ast
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dalle_jax.config import ranges
from dalle_jax.config.names import check_names
from dalle_jax.config.ranges import flatten
from dalle_jax.config.user_files import UserFile, find_config
from dalle_jax.configs import base
from dalle_jax.nearest import nearest

PREFIX = "--config."
KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    tuple: "a list such as (1, 2)",
}


def load_config(
    path: str | Path, overrides: Sequence[str] = (), settings: Mapping[str, Any] | None = None
) -> ConfigDict:
    """Run `get_config()` of a config file and change settings of what it gives.

    Args:
        path: of the file, or its name, see `find_config`.
        overrides: options `--config.some.name=value`. Values are Python literals or plain words;
            nothing else is evaluated.
        settings: the same as values by name, {"some.name": value}. Values of both kinds have to be
            of the setting's type.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no program or fails, has no get_config, lacks a setting or has an unknown
            one, or an override is unknown, mistyped, not understood or out of range
            (`config.ranges`).
    """
    path = find_config(path)
    file = UserFile(path)
    config = file.call("get_config") if file.get("get_config") else None
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{path} is not a config file: it has no get_config() of a ConfigDict")
    check_names(path, config, base.get_config())
    for name, value in (settings or {}).items():
        set_setting(config, name, value)
    for override in overrides:
        apply_override(config, override)
    ranges.check(config.to_dict())
    return config.lock()


def chosen_stages(path: str | Path, config: Mapping[str, Any], stage: str | None) -> list[str]:
    """The stages of a config, or only the one that is asked for.

    Raises:
        ValueError: the config has no such stage.
    """
    known = list(config["stages"])
    if stage is None:
        return known
    if stage not in known:
        raise ValueError(
            f"{path} has no stage {stage!r}; it has {', '.join(known)}{nearest(stage, known)}"
        )
    return [stage]


def apply_override(config: ConfigDict, override: str) -> None:
    """Set one setting from `--config.some.name=value`."""
    name, equals, text = override.removeprefix(PREFIX).partition("=")
    if not override.startswith(PREFIX) or not equals:
        raise ValueError(
            f"{override!r} is not understood; settings are given as --config.some.name=value"
        )
    set_setting(config, name, parse_value(text, dict(flatten(config)).get(name)))


def set_setting(config: ConfigDict, name: str, value: Any) -> None:
    """Set one setting, given by its full name.

    Raises:
        ValueError: there is no such setting, or the value is of another type.
    """
    known = dict(flatten(config))
    if name not in known:
        raise ValueError(f"there is no setting config.{name}{nearest(name, known)}")
    *parents, last = name.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    section[last] = _typed(name, value, known[name])


def read_settings(path: Path) -> dict[str, Any]:
    """The settings by name in a JSON file, {"some.name": value}.

    Raises:
        ValueError: it holds something else.
    """
    try:
        settings = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f'{path} must hold a JSON object of settings, {{"some.name": value}}')
    return settings


def parse_value(text: str, default: Any) -> Any:
    """The value of a text that is typed for a setting: a Python literal, or the text itself."""
    if isinstance(default, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def as_options(config: ConfigDict) -> list[str]:
    """The settings of a config as options that give it again, quoted as a shell needs it."""
    texts = ((name, v if isinstance(v, str) else repr(v)) for name, v in flatten(config))
    return [shlex.quote(f"{PREFIX}{name}={text}") for name, text in texts]


def _typed(name: str, value: Any, default: Any) -> Any:
    """A value in the type of the setting's default."""
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple):
        value = _tuples(value)
    if type(value) is not type(default):
        kind = KINDS.get(type(default), f"a {type(default).__name__}")
        raise ValueError(f"config.{name} is {kind} (now {default!r}); {str(value)[:80]!r} is not")
    return value


def _tuples(value: Any) -> Any:
    """A value with its lists, as JSON has them, made tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
