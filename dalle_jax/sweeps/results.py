"""The table of a sweep: a row for each point and metric, as CSV and as Parquet."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dalle_jax.files import csv_text, write_atomically
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import read_rows
from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.losses import LOSS, last_loss, loss_protocol
from dalle_jax.sweeps.record import made_by, read_attempts
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, StageRun

Row = dict[str, Any]
FlopsOf = Callable[[StageRun], float | None]  # of a run's whole training; None if not known

METRIC_COLUMNS = (
    *("metric", "value", "low", "high", "deviation_of_seeds", "floor"),
    *("num_images", "sampling_seeds", "data", "protocol_hash"),
)
# What differs when a sweep is run again.
COST_COLUMNS = (
    *("train_seconds", "evaluate_seconds", "peak_bytes"),
    *("host", "machine", "git_revision", "versions"),
)


class PointRows(NamedTuple):
    """The parts of the rows of a point.

    Attributes:
        head: columns that all of its rows begin with.
        metrics: the columns in which they differ.
        costs: columns that all of its rows end with.
    """

    head: Row
    metrics: list[Row]
    costs: Row


def table(graph: Graph, layout: SweepLayout, flops_of: FlopsOf = lambda run: None) -> list[Row]:
    """A row for each point and metric, of all points that have any.

    Columns: `point`; each override under its setting's name, those of the command line first;
    `seed` of training; `runs`; the metric, its 95 % interval and protocol; `flops` of training,
    `train_seconds` and `peak_bytes` (of main memory, of the largest process) of all stages of the
    point, shared or not.
    """
    return [
        {**of_point.head, **metric, **of_point.costs}
        for of_point in by_point(graph, layout, flops_of)
        for metric in of_point.metrics
    ]


def by_point(
    graph: Graph, layout: SweepLayout, flops_of: FlopsOf = lambda run: None
) -> list[PointRows]:
    """The parts of the rows of every point, also of those without any metric; see `table`."""
    found = []
    settings = list(dict.fromkeys(setting for point in graph.points for setting in point.overrides))
    for point in graph.points:
        runs = [graph.runs[key] for key in point.runs.values()]
        flops = [flops_of(run) for run in runs]
        head = {
            "point": point.name,
            **graph.cli_overrides,
            **{setting: point.overrides.get(setting) for setting in settings},
            "seed": point.config["seed"],
            "runs": " ".join(point.runs.values()),
        }
        costs = {"flops": None if None in flops else sum(flops), **_costs(point, layout)}
        losses = {run.key: last_loss(run, layout) for run in runs}
        metrics = [
            _metric(f"{run.stage}/{LOSS}", {"value": losses[run.key]})
            | {"protocol_hash": protocol_hash(loss_protocol(run))}
            for run in runs
            if losses[run.key] is not None
        ]
        metrics += _evaluated(point, layout)
        found.append(PointRows(head, metrics, costs))
    return found


def write_table(rows: Sequence[Row], directory: Path) -> list[Path]:
    """The table as results.csv and, where pyarrow is installed, as results.parquet."""
    paths = [directory / "results.csv", directory / "results.parquet"]
    text = csv_text([{name: _plain(value) for name, value in row.items()} for row in rows])
    write_atomically(paths[0], lambda file: file.write(text.encode()))
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return paths[:1]
    columns = dict.fromkeys(column for row in rows for column in row)
    arrays = {name: _column([row.get(name) for row in rows]) for name in columns}
    write_atomically(paths[1], lambda file: parquet.write_table(pyarrow.table(arrays), file))
    return paths


def _evaluated(point: PlannedPoint, layout: SweepLayout) -> list[Row]:
    """What `dalle-jax evaluate` found."""
    measured = read_rows(layout.system(point) / "results.jsonl")
    newest = {row["protocol_hash"]: row for row in measured}
    rows = []
    for row in newest.values():
        protocol, floor = row["protocol"], row.get("floor", {})
        for name, entry in row["metrics"].items():
            seeds = (protocol.get("sampling") or {}).get("seeds", ())
            rows.append(
                _metric(name, entry)
                | {
                    "floor": floor.get(name),
                    "num_images": protocol["num_images"],
                    "sampling_seeds": " ".join(map(str, seeds)),
                    "data": row.get("data"),
                    "protocol_hash": row["protocol_hash"],
                }
            )
    return rows


def _metric(name: str, entry: Mapping[str, Any]) -> Row:
    low, high = entry.get("interval") or (None, None)
    found = {
        "metric": name,
        "value": entry["value"],
        "low": low,
        "high": high,
        "deviation_of_seeds": entry.get("std_of_seeds"),
    }
    return {column: found.get(column) for column in METRIC_COLUMNS}


def _costs(point: PlannedPoint, layout: SweepLayout) -> Row:
    """Of all attempts at the point's jobs; nothing of runs that were trained elsewhere."""
    training = [a for key in point.runs.values() for a in read_attempts(layout.job(key))]
    evaluating = read_attempts(layout.job(evaluation_key(point)))
    every = [*training, *evaluating]
    if not every:
        return dict.fromkeys(COST_COLUMNS)
    made = made_by(every)
    return {
        "train_seconds": _seconds(training),
        "evaluate_seconds": _seconds(evaluating),
        "peak_bytes": max(attempt["peak_bytes"] for attempt in every),
        "host": " ".join(made["host"]),
        "machine": ", ".join(made["machine"]),
        "git_revision": " ".join(made["git_revision"]),
        "versions": json.dumps(made["versions"], sort_keys=True),
    }


def _seconds(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    return round(sum(a["seconds"] for a in attempts), 2) if attempts else None


def _plain(value: Any) -> Any:
    """What a cell can hold: lists as text."""
    return value if isinstance(value, (str, int, float, type(None))) else json.dumps(value)


def _column(values: Sequence[Any]) -> list[Any]:
    """Values of one type, as Parquet wants them: text where they are of several."""
    plain = [_plain(value) for value in values]
    kinds = {type(value) for value in plain} - {type(None)}
    if len(kinds) <= 1:
        return plain
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in plain]
    return [None if value is None else str(value) for value in plain]
