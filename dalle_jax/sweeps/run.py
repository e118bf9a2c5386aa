"""What `dalle-jax sweep` does: train and measure each point of an experiment file."""

import argparse
import dataclasses
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dalle_jax.cli.options import literal
from dalle_jax.cli.sweep import SLURM
from dalle_jax.config.load import PREFIX, flatten, load_config, parse_value
from dalle_jax.config.user_files import find_config
from dalle_jax.devices import check_platforms
from dalle_jax.files import write_atomically
from dalle_jax.sweeps.checks import check_points, data_problems
from dalle_jax.sweeps.content import data_signatures
from dalle_jax.sweeps.graph import Graph, build_graph, is_free
from dalle_jax.sweeps.grid import Sweep, base_of, sweep_name
from dalle_jax.sweeps.layout import SweepLayout, lay_out
from dalle_jax.sweeps.slurm import TIME_OVER


def run(args: argparse.Namespace, sweep: Sweep) -> int:
    """Train and measure what is missing of a sweep, or print the plan and its cost."""
    path = args.experiment
    config = find_config(sweep.config, path.parent).resolve()
    sweep = with_cli_overrides(sweep, args.overrides, load(config, {}))
    name = sweep_name(f"{path.stem}-{args.scale}", sweep.cli_overrides)
    layout = SweepLayout(args.workdir.absolute(), name)
    graph = build_graph(
        sweep,
        lambda overrides: load(config, overrides),
        data_signatures(layout.workdir, scan=not args.dry_run),
    )

    # This process computes nothing, and is to take no GPU from those that do.
    jax.config.update("jax_platforms", "cpu")
    check_points(graph)
    if args.dry_run:
        from dalle_jax.sweeps.plan import print_plan
        from dalle_jax.sweeps.workers import divide

        # Each task of Slurm has all that it is given, here as if that were this machine.
        slurm_tasks = args.backend == "slurm" and divide(1) * args.workers
        print_plan(graph, layout, args.reuse, slurm_tasks or divide(args.workers, share=args.share))
        return 0
    lay_out(layout, graph, args.reuse)
    write_definition(layout, graph, config)
    if args.backend == "slurm":
        from dalle_jax.sweeps.slurm import submit

        submitted = submit(
            _worker_command(args), args.workers, layout.directory / "slurm", _slurm(args)
        )
        print(f"submitted: {submitted}; `dalle-jax report {layout.directory}` shows how it stands")
        return 0
    return walk(
        graph,
        layout,
        config,
        workers=args.workers,
        share=args.share,
        retries=args.retries,
        max_hours=args.max_hours,
    )


def write_definition(layout: SweepLayout, graph: Graph, config: Path) -> None:
    """sweep.json: the points and their configs, for whoever reads the results."""
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


def walk(
    graph: Graph,
    layout: SweepLayout,
    config: Path,
    *,
    workers: int = 1,
    share: bool = False,
    retries: int = 1,
    max_hours: float = float("inf"),
) -> int:
    """Run the jobs here, and write the table of what is there afterwards; returns the exit code."""
    check_platforms(os.environ.get("JAX_PLATFORMS", ""))
    for error in data_problems(graph, layout):
        raise error
    from dalle_jax.sweeps.hours import Counts
    from dalle_jax.sweeps.jobs import jobs_of
    from dalle_jax.sweeps.launcher import Launcher, State
    from dalle_jax.sweeps.live_table import LiveTable
    from dalle_jax.sweeps.results import table, write_table
    from dalle_jax.sweeps.workers import divide

    # Points that differ in a seed are the same programs; of other machines they might not run here.
    cache = layout.workdir / "xla" / socket.gethostname()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    view = LiveTable(graph, layout)
    launcher = Launcher(
        jobs_of(graph, layout, config, (sys.executable, "-m", "dalle_jax")),
        divide(workers, share=share),
        retries=retries,
        max_seconds=3600 * max_hours,
        on_change=view.changed,
    )
    received: list[int] = []

    def stop(number, frame):
        received.append(number)
        launcher.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with view.shown(launcher):
            done = launcher.run(view.refresh)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not received:  # who asked it to end does not wait for the operations to be counted
        rows = table(graph, layout, Counts(layout.workdir / "flops.json").training)
        if rows:
            print(f"results: {', '.join(map(str, write_table(rows, layout.directory)))}")
    if done:
        print(f"`dalle-jax report {layout.directory}` draws them")
        return 0
    states = [status.state for status in launcher.status.values()]
    for key, status in launcher.status.items():
        if status.state is State.FAILED:
            print(f"failed: {launcher.jobs[key].title}: {status.note}", file=sys.stderr)
    if left := states.count(State.NOT_STARTED):
        print(f"{left} jobs are left; the same command goes on", file=sys.stderr)
    if received:
        return 128 + received[0]
    return 1 if State.FAILED in states else TIME_OVER


def with_cli_overrides(sweep: Sweep, options: Sequence[str], config: Mapping[str, Any]) -> Sweep:
    """The sweep with overrides of the command line, `--config.some.name=value`, for all points."""
    defaults, given = dict(flatten(ConfigDict(config))), {}
    for option in options:
        name, _, text = option.removeprefix(PREFIX).partition("=")
        if any(name in point for point in sweep.points):
            raise ValueError(f"{name} is what the sweep varies; it can't be set for all points")
        given[name] = parse_value(text, defaults.get(name))
    changing = {name: value for name, value in given.items() if not is_free(name)}
    overrides = {**sweep.overrides, **given}
    return dataclasses.replace(sweep, overrides=overrides, cli_overrides=changing)


def load(config: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A point's config: the base in a file, or the one that it names, with overrides by name."""
    file, settings = base_of(config, overrides)
    return load_config(file, settings=settings).to_dict()


def _slurm(args: argparse.Namespace) -> dict[str, Any]:
    """The resources asked of Slurm."""
    options = (option.removeprefix(SLURM).partition("=") for option in args.slurm)
    return {name: literal(text) for name, _, text in options}


def _worker_command(args: argparse.Namespace) -> list[str]:
    """The command of each task of a Slurm array: this sweep on the task's cores and GPUs."""
    command = [sys.executable, "-m", "dalle_jax", "sweep", str(args.experiment.resolve())]
    command += [f"--workdir={args.workdir.absolute()}", f"--scale={args.scale}"]
    command += [f"--retries={args.retries}", f"--max-hours={args.max_hours}"]
    reuse = ",".join(map(str, args.reuse))
    return [*command, *([f"--reuse={reuse}"] if reuse else []), *args.overrides]
