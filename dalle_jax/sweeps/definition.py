"""sweep.json: the points of a sweep and their configs, for whoever reads the results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.sweeps.graph import Graph, PlannedPoint, StageRun


@dataclass(frozen=True)
class WrittenPoint(PlannedPoint):
    """A point as sweep.json tells it.

    Attributes:
        system: its key as it was written; of its parts not all are.
    """

    system: str = ""

    @property
    def key(self) -> str:
        """The name of the point's system."""
        return self.system


def read_definition(directory: Path) -> tuple[str, Graph]:
    """The name of the sweep in a directory, and its graph.

    The runs tell their configs; of their overrides and needs nothing is written.

    Raises:
        ValueError: its sweep.json is torn, or something else.
    """
    path = directory / "sweep.json"
    try:
        document = json.loads(path.read_text())
        points = [_point(written) for written in document["points"]]
        return document["sweep"], Graph(_runs(points), points, document.get("typed", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what `dalle-jax sweep` writes ({error!r:.80}); the same "
            "`dalle-jax sweep` writes it anew"
        ) from error


def _point(written: Mapping[str, Any]) -> WrittenPoint:
    evaluation = written["evaluation"]
    return WrittenPoint(
        name=written["name"],
        overrides=dict(written["overrides"]),
        config=dict(written["config"]),
        runs=dict(written["runs"]),
        evaluation=None if evaluation is None else tuple(evaluation),
        system=written["system"],
    )


def _runs(points: list[WrittenPoint]) -> dict[str, StageRun]:
    """The runs by key, each with the config of the first point that has it."""
    runs: dict[str, StageRun] = {}
    for point in points:
        for stage, key in point.runs.items():
            fingerprint = key.removeprefix(f"{stage}-")
            runs.setdefault(key, StageRun(stage, fingerprint, {}, point.config, ()))
    return runs
