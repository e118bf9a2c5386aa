"""A config file and the overrides typed after it, as one locked ConfigDict."""

import ast
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dalle_jax import config_ranges
from dalle_jax.cli.user_files import UserFile, find_config
from dalle_jax.nearest import nearest

PREFIX = "--config."
KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    tuple: "a list such as (1, 2)",
}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run `get_config()` of a config file and apply `--config.some.name=value` to what it gives.

    The file is a path or a name, see `find_config`.
    Values are Python literals or plain words; their type has to be the knob's. Nothing else is
    evaluated.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no program or fails, has no get_config, or an override is unknown,
            mistyped, not understood or out of range (`config_ranges`).
    """
    path = find_config(path)
    file = UserFile(path)
    config = file.call("get_config") if file.get("get_config") else None
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{path} is not a config file: it has no get_config() of a ConfigDict")
    for override in overrides:
        apply_override(config, override)
    config_ranges.check(config.to_dict())
    return config.lock()


def apply_override(config: ConfigDict, override: str) -> None:
    """Set one knob from `--config.some.knob=value`."""
    name, equals, text = override.removeprefix(PREFIX).partition("=")
    if not override.startswith(PREFIX) or not equals:
        raise ValueError(
            f"{override!r} is not understood; settings are given as --config.some.name=value"
        )
    knobs = dict(flatten(config))
    if name not in knobs:
        raise ValueError(f"there is no knob config.{name}{nearest(name, knobs)}")
    *parents, last = name.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    section[last] = _typed(name, text, knobs[name])


def as_options(config: ConfigDict) -> list[str]:
    """The settings of a config as options that give it again, quoted as a shell needs it."""
    texts = ((name, v if isinstance(v, str) else repr(v)) for name, v in flatten(config))
    return [shlex.quote(f"{PREFIX}{name}={text}") for name, text in texts]


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All knobs of a config as ("decoder.train.steps", 4000)."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _typed(name: str, text: str, default: Any) -> Any:
    """The value that `text` stands for, in the type of the knob's default."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if type(value) is not type(default):
        kind = KINDS.get(type(default), f"a {type(default).__name__}")
        raise ValueError(f"config.{name} is {kind} (now {default!r}); {text[:80]!r} is not")
    return value
