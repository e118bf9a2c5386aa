"""A config file and the overrides typed after it, as one locked ConfigDict."""

import ast
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from dalle_jax import config_ranges
from dalle_jax.nearest import nearest

PREFIX = "--config."


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run `get_config()` of a config file and apply `--config.some.knob=value` to what it gives.

    Values are Python literals or plain words; their type has to be the knob's. Nothing else is
    evaluated.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no program or fails, has no get_config, or an override is unknown,
            mistyped, not understood or out of range (`config_ranges`).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no config file {path}; `ls configs` shows the known ones"
        )
    # Config files import each other as `configs.NAME`, from wherever that folder is.
    for parent in path.resolve().parents:
        if parent.name == "configs":
            sys.path.insert(0, str(parent.parent))
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        config = get_config and get_config()
    except Exception as error:  # of any kind, as the file is a program
        raise ValueError(f"{path} can't be run, {_where(error)}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{path} is not a config file: it has no get_config() of a ConfigDict")
    for override in overrides:
        apply_override(config, override)
    config_ranges.check(config.to_dict())
    return config.lock()


def _where(error: Exception) -> str:
    """What a program failed by, and in which line."""
    if isinstance(error, SyntaxError):
        file, line, what = error.filename, error.lineno, error.msg
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        file, line, what = last.filename, last.lineno, error
    return f"line {line} of {file}: {type(error).__name__}: {what}"


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
        raise ValueError(
            f"config.{name} is a {type(default).__name__} (now {default!r}); {text[:80]!r} is not"
        )
    return value
