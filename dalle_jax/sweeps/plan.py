"""`--dry-run`: print what a sweep would do and cost."""

import math
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dalle_jax.stages import main_of
from dalle_jax.sweeps.checks import data_problems
from dalle_jax.sweeps.directories import find_reusable
from dalle_jax.sweeps.hours import Counts, Rate, measured_rates, sampling_flops
from dalle_jax.sweeps.jobs import is_measured
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.machine import machine_of, own_machine
from dalle_jax.sweeps.machine_rate import guessed_rate
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, names_of
from dalle_jax.sweeps.workers import Worker, visible_gpus


def print_plan(
    graph: Graph, layout: SweepLayout, reuse: Sequence[Path], workers: Sequence[Worker]
) -> None:
    """Print the points, what would be trained for each, what is shared or there, and the cost.

    A point is named by its overrides in short; a shared run by the number of the first point that
    has it. All workers have the same hardware.
    """
    reusable = find_reusable(layout, graph, reuse)
    counts = Counts(layout.workdir / "flops.json")
    here = f"{machine_of(workers[0])}, {socket.gethostname()}"
    rates = measured_rates([layout.workdir / "runs", *reuse], counts, here)
    guessed = None
    if not rates and not visible_gpus({**os.environ, **workers[0].environment}):
        machine = f"{own_machine()}, {socket.gethostname()}"
        cores = len(workers[0].cores)
        guessed = guessed_rate(cores, machine, layout.workdir / "machine_rates.json")
    sampled: set[str] = set()
    names = names_of(graph)
    numbers = {point.name: n for n, point in enumerate(graph.points, 1)}
    first = {key: numbers[graph.users(key)[0].name] for key in graph.runs}
    columns = list(dict.fromkeys(stage for point in graph.points for stage in point.runs))
    table = Table(title=f"{layout.sweep}: {len(graph.points)} points")
    table.add_column("no.", justify="right")
    for name in ("point", *columns, "evaluation"):
        table.add_column(name, overflow="fold")
    table.add_column("TFLOP", justify="right")
    table.add_column("hours", justify="right")
    flops_left = hours_left = 0.0
    to_train = 0
    for point in graph.points:
        number, cells, flops, hours = numbers[point.name], [], 0.0, 0.0
        for stage in columns:
            key = point.runs.get(stage)
            if key is None:
                cells.append("")
                continue
            run, step = graph.runs[key], layout.step(graph.runs[key])
            if layout.is_trained(run):
                cells.append("is there")
            elif key in reusable:
                cells.append(f"from {reusable[key]}")
            elif first[key] != number:
                cells.append(f"as no. {first[key]}")
            else:
                to_train += 1
                share = 1 - step / run.steps
                of_run = share * run.steps * counts.step(stage, run.config)
                flops += of_run
                hours += _hours(of_run, stage, rates, guessed)
                cells.append(f"train, from step {step}" if step else "train")
        cells.append(_evaluation_cell(point, layout))
        if cells[-1] == "measure":
            of_images = sampling_flops(point, counts, sampled)
            flops += of_images
            hours += _hours(of_images, main_of(point.runs), rates, guessed)
        flops_left, hours_left = flops_left + flops, hours_left + hours
        costs = f"{flops / 1e12:.2f}", _hours_text(hours)
        table.add_row(str(number), names[point.name], *cells, *costs)
    Console(markup=False, width=None if sys.stdout.isatty() else 200).print(table)
    print(
        f"{to_train} of {len(graph.runs)} distinct trainings are to be done, for "
        f"{len(graph.points)} points; {flops_left / 1e12:.2f} TFLOP, estimated from the forward "
        "pass where a training was not counted before (sampling: a forward pass an evaluation, "
        "two where guided)"
    )
    for error in data_problems(graph, layout, reusable, scan=False):
        print(f"missing: {error}" if isinstance(error, FileNotFoundError) else f"data: {error}")
    if not rates and guessed is None:
        print(
            "hours are not known: no run in the workdir, or in those of --reuse, has logged its "
            "speed yet"
        )
        return
    of = "hours"
    if (count := len(workers)) > 1:
        least = _hours_text(hours_left / count)
        of = f"worker-hours, {least} hours if {count} workers are always busy"
    print(f"about {_hours_text(hours_left)} {of}, {_rates_text(rates, guessed)}")


def _rates_text(rates: Mapping[str, Rate], guessed: float | None) -> str:
    """A sentence on the rates that the hours are computed from."""
    if guessed is not None:
        return (
            f"guessed from how fast this machine multiplies matrices (a training at "
            f"{guessed / 1e9:.0f} GFLOP/s); take it as right within a factor of two, and once a "
            "training has logged its speed, that is used"
        )
    of_stages = ", ".join(
        f"{stage} {rate.flops / 1e9:.1f}" + (f" (on {rate.elsewhere})" if rate.elsewhere else "")
        for stage, rate in rates.items()
    )
    return f"at the GFLOP/s of earlier runs: {of_stages}"


def _evaluation_cell(point: PlannedPoint, layout: SweepLayout) -> str:
    if point.evaluation is None:
        return ""
    return "is there" if is_measured(point, layout) else "measure"


def _hours(
    flops: float, stage: str, rates: Mapping[str, Rate], guessed: float | None = None
) -> float:
    """Hours at the stage's own rate, else the mean of others, else the guess; NaN without any."""
    if stage in rates:
        return flops / rates[stage].flops / 3600
    known = [rate.flops for rate in rates.values()] or [guessed] * (guessed is not None)
    return flops / (sum(known) / len(known)) / 3600 if known else math.nan


def _hours_text(hours: float) -> str:
    return "?" if math.isnan(hours) else f"{hours:.2f}"
