"""sweep.json: the points of a sweep and their configs, for readers of the results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.sweeps.graph import Graph, PlannedPoint, StageRun


def read_definition(directory: Path) -> tuple[str, Graph]:
    """The name of the sweep in a directory, and its graph.

    Runs have their configs, but neither overrides nor needs; points have no evaluation.

    Raises:
        ValueError: its sweep.json is torn, or something else.
    """
    path = directory / "sweep.json"
    try:
        document = json.loads(path.read_text())
        points = [_point(written) for written in document["points"]]
        # Earlier versions called them "typed".
        overrides = document.get("cli_overrides", document.get("typed", {}))
        return document["sweep"], Graph(_runs(points), points, overrides)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what `dalle-jax sweep` writes ({error!r:.80}); the same "
            "`dalle-jax sweep` writes it anew"
        ) from error


def _point(written: Mapping[str, Any]) -> PlannedPoint:
    return PlannedPoint(
        name=written["name"],
        overrides=dict(written["overrides"]),
        config=dict(written["config"]),
        runs=dict(written["runs"]),
        evaluation=None,
        key=written["system"],
    )


def _runs(points: list[PlannedPoint]) -> dict[str, StageRun]:
    """The runs by key, each with the config of the first point that has it."""
    runs: dict[str, StageRun] = {}
    for point in points:
        for stage, key in point.runs.items():
            fingerprint = key.removeprefix(f"{stage}-")
            runs.setdefault(key, StageRun(stage, fingerprint, {}, point.config, ()))
    return runs
