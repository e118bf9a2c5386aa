"""sweep.json: the points of a sweep and their configs, for readers of the results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.files import write_atomically
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, StageRun


def write_definition(layout: SweepLayout, graph: Graph, config: Path) -> None:
    """Write the sweep.json of a sweep over a config file."""
    document = {
        "sweep": layout.sweep,
        "config": str(config),
        "cli_overrides": dict(graph.cli_overrides),
        "points": [
            {
                "name": point.name,
                "system": point.key,
                "overrides": point.overrides,
                "runs": point.runs,
                "evaluation": point.evaluation and point.evaluation._asdict(),
                "config": point.config,
            }
            for point in graph.points
        ],
    }
    text = json.dumps(document, indent=1) + "\n"
    write_atomically(layout.directory / "sweep.json", lambda file: file.write(text.encode()))


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
        runs: dict[str, StageRun] = {}  # each with the config of the first point that has it
        for point in points:
            for stage, key in point.runs.items():
                run = StageRun(stage, key.removeprefix(f"{stage}-"), {}, point.config, ())
                runs.setdefault(key, run)
        # Earlier versions called them "typed".
        overrides = document.get("cli_overrides", document.get("typed", {}))
        return document["sweep"], Graph(runs, points, overrides)
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
