"""What is measured for a figure: the sweep's table and the figure's own measurements."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dalle_jax.figures.measurements import Measurements
from dalle_jax.figures.record import Results
from dalle_jax.figures.rows import BY_CAPTION, LEFT_OUT
from dalle_jax.metrics.results import read_rows, read_scores
from dalle_jax.sweeps.jobs import evaluation_key, is_measured
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.losses import LOSS
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.results import COST_COLUMNS, table
from dalle_jax.sweeps.shared_runs import Graph, setting_columns


def results_of(measurements: Measurements) -> Results:
    """The rows of the sweep's table and the figure's own measurements, with what is missing."""
    graph, layout, figure = measurements.graph, measurements.layout, measurements.figure
    measured, cached = measurements.measured(), measurements.cached()
    rows = [*rows_of(graph, layout), *measured.rows]
    # Losses come with any training; a figure shows them only where only trainings are compared.
    of_losses = figure.measure is None and figure.sweep.evaluation is None
    if not of_losses and all(row["metric"].endswith(LOSS) for row in rows):
        rows = []
    missing = []
    for point in graph.points:
        if not all(layout.is_trained(graph.runs[key]) for key in point.runs.values()):
            missing.append(f"training of {point.name}")
        elif point.evaluation is not None and not is_measured(point, layout):
            missing.append(f"evaluation of {point.name}")
    missing += [f"the figure's own measure of {p.title}" for p, found in cached if found is None]
    jobs = dict.fromkeys([*graph.runs, *map(evaluation_key, graph.points)])
    done = [attempt for key in jobs for attempt in read_attempts(layout.job(key))]
    done += [found.made for _, found in cached if found is not None]
    return Results(rows, measured.images, done, missing, graph.cli_overrides)


def rows_of(graph: Graph, layout: SweepLayout) -> list[dict[str, Any]]:
    """The sweep's table as a figure reads it.

    The column of a setting has the last part of its name (`num_inference_steps`), unless two
    settings share that. Rows have the scores of single captions, and distances with captions left
    out, where `dalle-jax evaluate` saved them; costs are left out.
    """
    columns, left_out = setting_columns(graph), (*COST_COLUMNS, "flops")
    measured = {point.name: _measured_by_caption(layout.system(point)) for point in graph.points}
    return [
        {columns.get(name, name): value for name, value in row.items() if name not in left_out}
        | measured[row["point"]].get((row["protocol_hash"], row["metric"]), {})
        for row in table(graph, layout)
    ]


def _measured_by_caption(system: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    """By (protocol hash, metric): what models are compared by."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    path = system / "results.jsonl"
    for row in read_rows(path):
        scores = read_scores(path, row)
        for name, entry in row["metrics"].items():
            of_metric = {BY_CAPTION: scores[name]} if name in scores else {}
            of_metric |= {LEFT_OUT: entry["left_out"]} if "left_out" in entry else {}
            found[row["protocol_hash"], name] = of_metric
    return found
