"""The points of a sweep: dicts of overrides, combined by `product`, `zip_` and `chain`.

    product(
        zip_(("decoder.loss.target", ["eps", "v"]), ("decoder.loss.weighting", ["simple", "snr"])),
        ("decoder.sample.guidance_scale", [1.0, 3.0]),
        seed=range(3),
    )

is twelve points. An axis is a pair (setting, values) or the result of another of the three; a
setting whose name has no dot can be a keyword argument.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain as concatenated
from itertools import product as cartesian
from pathlib import Path
from typing import Any

import numpy as np

Point = dict[str, Any]
Axis = tuple[str, Iterable[Any]] | Sequence[Mapping[str, Any]]

MAX_NAME = 140  # characters; file systems end at 255 bytes
MAX_CLI_NAME = 60  # of them for overrides of the command line
BASE = "base"  # name of the point that overrides nothing
OTHER_CONFIG = "config"  # setting of a point that has another base: its name beside the sweep's


@dataclass(frozen=True)
class Sweep:
    """What to train and measure, as `get_sweep(scale)` of an experiment file returns it.

    Attributes:
        config: the base, a file of configs/ (a relative path counts from the project's folder).
        points: dicts of overrides by name. A setting STAGE.sample.NAME changes only sampling; it
            may be an option of a sampler that the config does not list. The setting `config` names
            another base for the point, a file beside `config`: "shapes" for configs/shapes.py.
        stages: that are trained, in this order; those of the config if empty. A point with another
            base has those of them that its base has.
        overrides: of all points; they are not part of a point's name.
        evaluation: options of `dalle-jax evaluate`, as {"n": 256, "metrics": ["oracle", "fid"]};
            None if only trainings are compared.
        cli_overrides: those of `overrides` that were given on the command line and change results;
            they are part of the sweep's name, and columns of its table.

    Raises:
        TypeError: an attribute is of another kind.
        ValueError: there are no points, or two are the same; or the evaluation is of a workdir.
    """

    config: str
    points: Sequence[Mapping[str, Any]]
    stages: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = field(default_factory=dict)
    cli_overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not isinstance(self.config, str | Path):
            raise TypeError(f"config is {self.config!r}; it must be the name of a config file")
        if isinstance(self.stages, str):
            raise TypeError(f"stages is {self.stages!r}; it must be a tuple of names")
        for name in ("overrides", "evaluation", "cli_overrides"):
            if not isinstance(value := getattr(self, name), Mapping | None):
                raise TypeError(f"{name} is {value!r}; it must be a dict of settings")
        if not isinstance(self.points, Sequence) or not all(
            isinstance(point, Mapping) for point in self.points
        ):
            raise TypeError("points must be a list of dicts of overrides, as product() makes it")
        if "workdir" in (self.evaluation or {}):
            raise ValueError("evaluation has a workdir; each point is measured in its own")
        names = [point_name(point) for point in self.points]
        if not names:
            raise ValueError("the sweep has no points")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"the sweep has the point {sorted(twice)[0]} more than once")


def product(*axes: Axis, **settings: Iterable[Any]) -> list[Point]:
    """Every combination; the last axis changes fastest.

    Raises:
        ValueError: two axes set the same setting.
    """
    return [_merged(points) for points in cartesian(*_axes(axes, settings))]


def zip_(*axes: Axis, **settings: Iterable[Any]) -> list[Point]:
    """The axes item by item: their first points together, their second, and so on.

    Raises:
        ValueError: they are not of one length, or two set the same setting.
    """
    columns = _axes(axes, settings)
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"axes of {', '.join(map(str, lengths))} values can't be zipped")
    return [_merged(points) for points in zip(*columns)]


def chain(*axes: Axis, **settings: Iterable[Any]) -> list[Point]:
    """The points of one axis after those of the other."""
    return list(concatenated(*_axes(axes, settings)))


def point_name(point: Mapping[str, Any], longest: int = MAX_NAME) -> str:
    """A point's overrides as the name of a folder, sorted: `decoder.loss.target=eps,seed=0`.

    Characters that file systems may not accept are replaced, names longer than `longest` cut; then
    a hash of the point is added.
    """
    if not point:
        return BASE
    text = ",".join(f"{name}={override_text(point[name])}" for name in sorted(point))
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", text)
    if safe == text and len(text) <= longest:
        return text
    canonical = json.dumps(point, sort_keys=True, default=list)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    return f"{safe[:longest]}-{digest}"


def sweep_name(name: str, cli_overrides: Mapping[str, Any]) -> str:
    """The name of a sweep's directory: with overrides of the command line it is another sweep."""
    return f"{name}-{point_name(cli_overrides, MAX_CLI_NAME)}" if cli_overrides else name


def override_text(value: Any) -> str:
    """A value as text in names of points."""
    return value if isinstance(value, str) else repr(value)


def is_sampling(name: str) -> bool:
    """Whether a setting concerns only sampling, STAGE.sample.NAME, and changes no training."""
    return name.split(".")[1:2] == ["sample"]


def _axes(axes: Sequence[Axis], settings: Mapping[str, Iterable[Any]]) -> list[list[Point]]:
    return [_points(axis) for axis in (*axes, *settings.items())]


def _points(axis: Axis) -> list[Point]:
    """An axis as points."""
    if isinstance(axis, tuple) and len(axis) == 2 and isinstance(axis[0], str):
        name, values = axis
        # A NumPy scalar is not what its text says: np.float64(1.0).
        plain = (value.item() if isinstance(value, np.generic) else value for value in values)
        return [{name: value} for value in plain]
    points = list(axis)
    if not all(isinstance(point, Mapping) for point in points):
        raise ValueError(
            f"{axis!r} is no axis: give (setting, values), or what product, zip_ or chain made"
        )
    return [dict(point) for point in points]


def _merged(points: Iterable[Point]) -> Point:
    merged: Point = {}
    for point in points:
        if both := merged.keys() & point.keys():
            raise ValueError(f"the setting {sorted(both)[0]} is set by two axes")
        merged |= point
    return merged
