"""Train and measure what is missing for a figure, in a workdir of sweeps, as `sweep` does it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dalle_jax.config.user_files import find_config
from dalle_jax.figures.figure import Figure
from dalle_jax.figures.measurements import Measurements
from dalle_jax.figures.record import Results
from dalle_jax.figures.results import results_of
from dalle_jax.figures.trained import check_trained, open_trained, sweep_of_trained
from dalle_jax.runs import Run
from dalle_jax.stages import main_of
from dalle_jax.sweeps.checks import check_captions, check_points
from dalle_jax.sweeps.data_signatures import data_signatures
from dalle_jax.sweeps.definition import write_definition
from dalle_jax.sweeps.directories import lay_out
from dalle_jax.sweeps.grid import Sweep, is_sampling, sweep_name
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.overrides import load_point, with_cli_overrides
from dalle_jax.sweeps.plan import print_plan
from dalle_jax.sweeps.point_evaluation import from_here
from dalle_jax.sweeps.record import origin_now
from dalle_jax.sweeps.run import leave_accelerators_to_jobs, run
from dalle_jax.sweeps.shared_runs import Graph, build_graph
from dalle_jax.sweeps.slurm import TIME_OVER
from dalle_jax.sweeps.workers import divide

if TYPE_CHECKING:
    from dalle_jax.figures.make import FigureOptions

STOPPED = 128  # and the number of a signal: nothing is drawn


def train_and_measure(
    figure: Figure, path: Path, options: "FigureOptions", until: float
) -> tuple[int, Results | None]:
    """Train and measure what is missing for a figure of a file, or print what that would cost.

    Nothing is begun after the moment `until` of `time.monotonic`.

    Returns:
        The exit code, 0 if all of it is done; and what is measured, None if nothing is to be drawn.
    """
    if figure.measure is None:
        leave_accelerators_to_jobs()
    if options.workdir is not None:
        options = dataclasses.replace(options, reuse=[*options.reuse, options.workdir])
    began = origin_now(machine="")  # by what code this process measures
    code, measurements = _train(figure, path, options, until)
    if options.dry_run:
        measurements.print_plan()
    if options.dry_run or code > STOPPED:
        return code, None
    if code != TIME_OVER:
        measurements.measure_missing(until, began)
    found = results_of(measurements)
    if found.missing and time.monotonic() > until:
        code = code or TIME_OVER
    return code, found


class Plan(NamedTuple):
    """The sweep of a figure before it runs.

    Attributes:
        config: the file of its base config.
        base: that config with the overrides of all points.
        build: a sweep -> its graph.
    """

    sweep: Sweep
    layout: SweepLayout
    config: Path
    base: Mapping[str, Any]
    build: Callable[[Sweep], Graph]


def _plan(figure: Figure, path: Path, options: "FigureOptions") -> Plan:
    workdir, captions = options.workdir, options.captions
    if workdir is None:
        config = find_config(figure.sweep.config, path.parent).resolve()
        config_of = partial(load_point, config)
    else:
        trained = open_trained(workdir, options.overrides)
        config, config_of = trained.directory / "config.json", lambda overrides: trained.config
    sweep = with_cli_overrides(figure.sweep, options.overrides, config_of({}))
    name = sweep_name(f"{path.stem}-{options.scale}", sweep.cli_overrides)
    base = config_of({k: v for k, v in sweep.overrides.items() if not is_sampling(k)})
    if workdir is not None:
        name = f"{name}-{workdir.resolve().name}"
        sweep = sweep_of_trained(sweep, path, workdir, base)
    if captions and sweep.evaluation is not None:
        sweep = _evaluated_with(sweep, n=captions)
    elif captions and figure.num_captions is None:
        raise ValueError(f"{path.stem} measures its own, and takes no --captions")
    layout = SweepLayout(options.sweeps.absolute(), name)
    if count := captions or figure.num_captions:
        of_data = Run(layout.workdir, main_of(base["stages"]), base)
        check_captions(of_data, count, scan=not options.dry_run)
    build = partial(build_graph, config_of=config_of)
    if workdir is None:  # a trained system is measured whatever its data is by now
        signatures = data_signatures(layout.workdir, scan=not options.dry_run)
        build = partial(build, signature_of=signatures)
    return Plan(sweep, layout, config, base, build)


def _train(
    figure: Figure, path: Path, options: "FigureOptions", until: float
) -> tuple[int, Measurements]:
    """Run the sweep of a figure; returns the exit code and what is left for the figure itself."""
    sweep, layout, config, base, build = _plan(figure, path, options)
    measurements = Measurements(
        figure, path, options.scale, Graph({}, ()), layout, num_captions=options.captions
    )
    features = None
    if figure.features is not None:
        features, train = _features(figure.features, base, path, options, until)
        if sweep.evaluation is not None:
            sweep = _evaluated_with(sweep, features=features)
        # The points are checked before the network is trained, and built anew once it is, since
        # its checkpoint is part of their key.
        check_points(build(sweep), () if options.features else (from_here(features),))
        if code := train():
            return code, measurements
    graph = build(sweep)
    if features is None:
        check_points(graph)
    if options.workdir is not None:
        check_trained(graph, layout, options.workdir)
    code = _run(graph, layout, config, options, until)
    return code, dataclasses.replace(measurements, graph=graph, features=features)


def _evaluated_with(sweep: Sweep, **options: Any) -> Sweep:
    return dataclasses.replace(sweep, evaluation={**sweep.evaluation, **options})


def _features(
    config: str,
    base: Mapping[str, Any],
    path: Path,
    options: "FigureOptions",
    until: float,
) -> tuple[str, Callable[[], int]]:
    """The run of the network for distances, and a function that trains it and gives an exit code.

    It is trained on the data and tokens of the config `base`.
    """
    if options.features:
        return options.features, lambda: 0
    data = {f"data.{name}": value for name, value in base["data"].items()}
    tokenizer = {f"tokenizer.{name}": value for name, value in base["tokenizer"].items()}
    file = find_config(config, path.parent).resolve()
    sweep = Sweep(config=config, points=[{}], overrides=data | tokenizer, evaluation=None)
    layout = SweepLayout(options.sweeps.absolute(), "features")
    signatures = data_signatures(layout.workdir, scan=not options.dry_run)
    graph = build_graph(sweep, partial(load_point, file), signatures)
    features = str(options.sweeps / "runs" / next(iter(graph.runs)))
    return features, lambda: _run(graph, layout, file, options, until)


def _run(
    graph: Graph,
    layout: SweepLayout,
    config: Path,
    options: "FigureOptions",
    until: float,
) -> int:
    if options.dry_run:
        print_plan(graph, layout, options.reuse, divide(options.workers))
        return 0
    lay_out(layout, graph, options.reuse)
    write_definition(layout, graph, config)
    hours_left = (until - time.monotonic()) / 3600
    return run(graph, layout, config, workers=options.workers, max_hours=hours_left)
