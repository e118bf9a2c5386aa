"""What is missing for a figure: trained and measured in a workdir of sweeps, as `sweep` does it."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from dalle_jax.config.load import PREFIX
from dalle_jax.config.user_files import find_config
from dalle_jax.data.index import NotScannedError, without_scan
from dalle_jax.figures.figure import Figure, Measured
from dalle_jax.figures.measurements import Own
from dalle_jax.figures.rows import rows_of
from dalle_jax.pipelines.system import find_stages
from dalle_jax.runs import Run, open_run
from dalle_jax.stages import main_of
from dalle_jax.stages.graph import main_stage
from dalle_jax.sweeps.checks import check_points
from dalle_jax.sweeps.content import data_signatures
from dalle_jax.sweeps.graph import Graph, build_graph, from_here
from dalle_jax.sweeps.grid import Sweep, is_sampling, sweep_name
from dalle_jax.sweeps.jobs import evaluation_key, is_measured
from dalle_jax.sweeps.layout import SweepLayout, find_reusable, lay_out
from dalle_jax.sweeps.record import read_attempts
from dalle_jax.sweeps.results import LOSS
from dalle_jax.sweeps.run import load, walk, with_cli_overrides, write_definition
from dalle_jax.sweeps.workers import divide

if TYPE_CHECKING:
    from dalle_jax.figures.make import FigureOptions

DONE = 0


def swept(figure: Figure, path: Path, options: "FigureOptions", until: float) -> tuple[int, Own]:
    """Train and measure what is missing for a figure, or tell what that would cost.

    Returns:
        The exit code, of which nothing but 0 is all of it done, and what is left to the figure.
    """
    if figure.measure is None:
        # This process computes nothing, and is to take no GPU from those that do.
        jax.config.update("jax_platforms", "cpu")
    workdir, reuse = options.workdir, list(options.reuse)
    if workdir is not None:
        for option in options.overrides:
            if not is_sampling(option.removeprefix(PREFIX)):
                raise ValueError(f"{workdir} is trained already, so {option} can't be set")
        runs, stages = find_stages(workdir)
        trained = runs[main_stage(stages)]
        config, base = trained.directory / "config.json", trained.config
        config_of = lambda overrides: base
        reuse.append(workdir)
    else:
        config = find_config(figure.sweep.config, path.parent).resolve()
        config_of = lambda overrides: load(config, overrides)
        base = config_of({})
    sweep = with_cli_overrides(figure.sweep, options.overrides, base)
    name = sweep_name(f"{path.stem}-{options.scale}", sweep.cli_overrides)
    if workdir is not None:
        sweep, name = _of_trained(sweep, path, workdir, base), f"{name}-{workdir.resolve().name}"
    else:
        base = config_of({k: v for k, v in sweep.overrides.items() if not is_sampling(k)})
    if options.captions and sweep.evaluation is None and figure.num_captions is None:
        raise ValueError(f"{path.stem} measures its own, and takes no --captions")
    if options.captions and sweep.evaluation is not None:
        sweep = dataclasses.replace(sweep, evaluation={**sweep.evaluation, "n": options.captions})
    layout = SweepLayout(options.sweeps.absolute(), name)
    of_figure = {"figure": figure, "source": path, "scale": options.scale, "layout": layout}
    if count := options.captions or figure.num_captions:
        _check_captions(
            Run(layout.workdir, main_of(base["stages"]), base), count, scan=not options.dry_run
        )
    # A trained system is measured whatever its data is by now.
    signature_of = workdir is None and data_signatures(layout.workdir, scan=not options.dry_run)
    features = None
    if figure.features is not None:
        features, train_features = _features(figure.features, base, path, options, reuse, until)
        if sweep.evaluation is not None:
            how = {**sweep.evaluation, "features": features}
            sweep = dataclasses.replace(sweep, evaluation=how)
        # The points are checked before the network is trained, and built anew once it is there,
        # since its checkpoint is part of what they are measured by.
        to_be_trained = () if options.features else (from_here(features),)
        check_points(build_graph(sweep, config_of, signature_of or None), to_be_trained)
        if code := train_features():
            return code, Own(**of_figure, graph=Graph({}, ()))
    graph = build_graph(sweep, config_of, signature_of or None)
    if features is None:
        check_points(graph)
    if workdir is not None:
        _check_trained(graph, layout, workdir)
    code = _walk(graph, layout, config, options, reuse, until)
    return code, Own(**of_figure, graph=graph, features=features, num_captions=options.captions)


def _of_trained(sweep: Sweep, path: Path, workdir: Path, base: Mapping[str, Any]) -> Sweep:
    """The sweep over what is trained in a workdir, as it was trained there."""
    varied = [knob for point in sweep.points for knob in point if not is_sampling(knob)]
    if varied:
        raise ValueError(
            f"{path.stem} varies {varied[0]}, so it trains its own systems; leave out --workdir, "
            "or give --reuse for what fits"
        )
    wanted = sweep.stages or base["stages"]
    return dataclasses.replace(
        sweep,
        stages=tuple(stage for stage in wanted if (workdir / stage / "config.json").exists()),
        overrides={knob: v for knob, v in sweep.overrides.items() if is_sampling(knob)},
    )


def _check_trained(graph: Graph, layout: SweepLayout, workdir: Path) -> None:
    there = find_reusable(layout, graph, [workdir])
    for key, run in graph.runs.items():
        if key not in there and not layout.is_trained(run):
            raise ValueError(
                f"{workdir / run.stage} is at step {open_run(workdir / run.stage).step} of "
                f"{run.steps}; train it to its end first"
            )


def _check_captions(run: Run, count: int, *, scan: bool) -> None:
    """Refuse more captions than the test split has that a figure measures itself on.

    Data that are missing, or would have to be scanned and are not to be, are not looked at.
    """
    try:
        with nullcontext() if scan else without_scan():
            there = len(run.open_source("test"))
    except (FileNotFoundError, NotScannedError):
        return
    if there < count:
        raise ValueError(
            f"the split 'test' of {run.data['source']} has {there} captions, fewer than the "
            f"{count} that the figure is measured on; give --captions={there} or fewer"
        )


def _features(
    config: str,
    base: Mapping[str, Any],
    path: Path,
    options: "FigureOptions",
    reuse: list[Path],
    until: float,
) -> tuple[str, Callable[[], int]]:
    """The network that distances are measured by: the path of its run, and what trains it.

    The latter returns an exit code.
    """
    if options.features:
        return options.features, lambda: DONE
    data = {f"data.{name}": value for name, value in base["data"].items()}
    tokenizer = {f"tokenizer.{name}": value for name, value in base["tokenizer"].items()}
    file = find_config(config, path.parent).resolve()
    sweep = Sweep(config=config, points=[{}], overrides=data | tokenizer, evaluation=None)
    layout = SweepLayout(options.sweeps.absolute(), "features")
    graph = build_graph(
        sweep,
        lambda overrides: load(file, overrides),
        data_signatures(layout.workdir, scan=not options.dry_run),
    )
    run = str(options.sweeps / "runs" / next(iter(graph.runs)))
    return run, lambda: _walk(graph, layout, file, options, reuse, until)


def _walk(
    graph: Graph,
    layout: SweepLayout,
    config: Path,
    options: "FigureOptions",
    reuse: list[Path],
    until: float,
) -> int:
    if options.dry_run:
        from dalle_jax.sweeps.plan import print_plan

        print_plan(graph, layout, reuse, divide(options.workers))
        return DONE
    lay_out(layout, graph, reuse)
    write_definition(layout, graph, config)
    hours_left = (until - time.monotonic()) / 3600
    return walk(graph, layout, config, workers=options.workers, max_hours=hours_left)


def missing_of(own: Own) -> list[str]:
    """What a figure still lacks, in words: of each point, and of what it measures itself."""
    found = []
    for point in own.graph.points:
        runs = [own.graph.runs[key] for key in point.runs.values()]
        if not all(map(own.layout.is_trained, runs)):
            found.append(f"training of {point.name}")
        elif point.evaluation is not None and not is_measured(point, own.layout):
            found.append(f"evaluation of {point.name}")
    of_itself = [part.title for part, kept in own.kept() if kept is None]
    return [*found, *(f"the figure's own measure of {title}" for title in of_itself)]


def measured_of(own: Own) -> Measured:
    """The rows of the sweep's table, and what the figure itself measured, with its images.

    None of them, where what the figure shows is measured of no point yet.
    """
    measured = own.measured()
    rows = [*rows_of(own.graph, own.layout), *measured.rows]
    # Losses come with any training; of trainings alone they are what is shown.
    of_losses = own.figure.measure is None and own.figure.sweep.evaluation is None
    there = of_losses or any(not row["metric"].endswith(LOSS) for row in rows)
    return Measured(rows if there else [], measured.images)


def done_for(own: Own) -> list[Mapping[str, Any]]:
    """All attempts at trainings and evaluations here, and what the figure measured itself."""
    keys = [*own.graph.runs, *map(evaluation_key, own.graph.points)]
    attempts = [a for key in dict.fromkeys(keys) for a in read_attempts(own.layout.job(key))]
    measures = {part.file: kept.made for part, kept in own.kept() if kept is not None}
    return [*attempts, *measures.values()]
