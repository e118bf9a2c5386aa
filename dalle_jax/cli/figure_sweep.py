"""What is missing for a figure: trained and measured in a workdir of sweeps, as `sweep` does it."""

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from dalle_jax.cli.config import PREFIX
from dalle_jax.cli.extractors import open_features
from dalle_jax.cli.sweep import load, walk, with_typed, write_definition
from dalle_jax.runs import open_run
from dalle_jax.sweeps.figure import Figure, Measured
from dalle_jax.sweeps.figure_rows import knob_columns, rows_of
from dalle_jax.sweeps.graph import Graph, build_graph
from dalle_jax.sweeps.grid import Sweep, is_sampling
from dalle_jax.sweeps.job import read_attempts
from dalle_jax.sweeps.jobs import evaluation_key
from dalle_jax.sweeps.place import Place, find_reusable, lay_out
from dalle_jax.sweeps.record import time_covered
from dalle_jax.sweeps.results import LOSS

DONE = 0


class Swept(NamedTuple):
    """What was trained and measured for a figure.

    Attributes:
        code: exit code; of nothing but 0 is all of it done.
        graph, place: what it is and where it lies.
        features: the run of the network that distances are on, where the figure has one.
    """

    code: int
    graph: Graph
    place: Place
    features: str | None = None


def swept(figure: Figure, path: Path, args: argparse.Namespace, typed: list[str]) -> Swept:
    """Train and measure what is missing for a figure, or tell what that would cost."""
    if figure.measure is None:
        # This process computes nothing, and is to take no GPU from those that do.
        jax.config.update("jax_platforms", "cpu")
    sweep, name = with_typed(figure.sweep, typed), f"{path.stem}-{args.scale}"
    workdir = Path(args.workdir) if args.workdir else None
    reuse = [Path(other) for other in args.reuse.split(",") if other]
    if workdir is not None:
        if typed := [option for option in typed if not is_sampling(option.removeprefix(PREFIX))]:
            raise ValueError(f"{workdir} is trained already, so {typed[0]} can't be set")
        config, base = workdir / "decoder/config.json", open_run(workdir / "decoder").config
        sweep, name = _of_trained(sweep, path, workdir, base), f"{name}-{workdir.resolve().name}"
        reuse.append(workdir)
        config_of = lambda overrides: base
    else:
        config = project_file(path, sweep.config)
        config_of = lambda overrides: load(config, overrides)
        base = config_of({k: v for k, v in sweep.overrides.items() if not is_sampling(k)})
    if args.captions and sweep.evaluation is None and figure.num_captions is None:
        raise ValueError(f"{path.stem} measures its own, and takes no --captions")
    if args.captions and sweep.evaluation is not None:
        sweep = dataclasses.replace(sweep, evaluation={**sweep.evaluation, "n": args.captions})
    place = Place(Path(args.sweeps).absolute(), name)
    features = None
    if figure.features is not None:
        code, features = _features(figure.features, base, path, args, reuse)
        if code:
            return Swept(code, Graph({}, ()), place)
        if sweep.evaluation is not None:
            how = {**sweep.evaluation, "features": features}
            sweep = dataclasses.replace(sweep, evaluation=how)
    graph = build_graph(sweep, config_of)
    if workdir is not None:
        _check_trained(graph, place, workdir)
    return Swept(_walk(graph, place, config, args, reuse), graph, place, features)


def project_file(path: Path, name: str) -> Path:
    """A file as an experiment names it: relative to the folder of the project that it is in."""
    for parent in path.resolve().parents:
        if (parent / name).is_file():
            return parent / name
    raise FileNotFoundError(f"there is no {name} in a folder above {path}")


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


def _check_trained(graph: Graph, place: Place, workdir: Path) -> None:
    there = find_reusable(place, graph, [workdir])
    for key, run in graph.runs.items():
        if key not in there and not place.is_trained(run):
            raise ValueError(
                f"{workdir / run.stage} is at step {open_run(workdir / run.stage).step} of "
                f"{run.steps}; train it to its end first"
            )


def _features(
    config: str, base: Mapping[str, Any], path: Path, args: argparse.Namespace, reuse: list[Path]
) -> tuple[int, str]:
    """The network that distances are measured by: (exit code, the path of its run)."""
    if args.features:
        return DONE, args.features
    data = {f"data.{name}": value for name, value in base["data"].items()}
    tokenizer = {f"tokenizer.{name}": value for name, value in base["tokenizer"].items()}
    file = project_file(path, config)
    sweep = Sweep(config=config, points=[{}], overrides=data | tokenizer, evaluation=None)
    graph = build_graph(sweep, lambda overrides: load(file, overrides))
    place = Place(Path(args.sweeps).absolute(), "features")
    run = str(Path(args.sweeps) / "runs" / next(iter(graph.runs)))
    return _walk(graph, place, file, args, reuse), run


def _walk(
    graph: Graph, place: Place, config: Path, args: argparse.Namespace, reuse: list[Path]
) -> int:
    if args.dry_run:
        from dalle_jax.cli.sweep_tables import print_plan

        print_plan(graph, place, reuse)
        return DONE
    lay_out(place, graph, reuse)
    write_definition(place, graph, config)
    return walk(graph, place, config, workers=args.workers, max_hours=args.max_hours)


def measured_of(figure: Figure, made: Swept, num_captions: int | None = None) -> Measured:
    """The rows of the sweep's table, and what the figure itself measures of each point.

    None of them, where what the figure shows is measured of no point yet.
    """
    graph, place = made.graph, made.place
    own, images, given, columns = [], {}, {}, knob_columns(graph)
    if figure.measure is not None and made.features is not None:
        given["extractor"] = open_features(made.features).extractor
    if figure.num_captions is not None:
        given["num_captions"] = num_captions or figure.num_captions
    trained = [
        p for p in graph.points if all(place.is_trained(graph.runs[k]) for k in p.runs.values())
    ]
    # Without the network of distances there is no graph, and no point.
    if figure.together and trained and len(trained) == len(graph.points):
        found = figure.measure([place.system(point) for point in trained], **given)
        own, images = found.table, found.images
    for point in trained if figure.measure is not None and not figure.together else ():
        found = figure.measure(place.system(point), **given)
        knobs = {columns[knob]: value for knob, value in point.overrides.items()}
        head = {"point": point.name, **knobs, "seed": point.config["seed"]}
        head["runs"] = " ".join(point.runs.values())
        own += [{**head, **row} for row in found.table]
        of_point = "" if len(graph.points) == 1 else f"{point.name}/"
        images |= {of_point + name: image for name, image in found.images.items()}
    rows = [*rows_of(graph, place), *own]
    # Losses come with any training; of trainings alone they are what is shown.
    of_losses = figure.measure is None and figure.sweep.evaluation is None
    there = of_losses or any(not row["metric"].endswith(LOSS) for row in rows)
    return Measured(rows if there else [], images)


def spent_on(graph: Graph, place: Place) -> tuple[float, float]:
    """Seconds by the clock and of CPU cores, of all that was trained and measured for it here.

    What ran side by side counts once by the clock.
    """
    keys = [*graph.runs, *map(evaluation_key, graph.points)]
    attempts = [a for key in dict.fromkeys(keys) for a in read_attempts(place.job(key))]
    return time_covered(attempts), sum(attempt["core_seconds"] for attempt in attempts)
