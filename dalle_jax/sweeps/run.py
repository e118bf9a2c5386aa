"""What `dalle-jax sweep` does: train and measure each point of an experiment file."""

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

from dalle_jax.config.load import PREFIX, flatten, load_config, parse_value
from dalle_jax.config.user_files import find_config
from dalle_jax.devices import check_platforms
from dalle_jax.files import write_atomically
from dalle_jax.sweeps.checks import check_points, data_problems
from dalle_jax.sweeps.content import data_signatures
from dalle_jax.sweeps.experiment import check_overrides, load_sweep
from dalle_jax.sweeps.graph import Graph, build_graph, is_free
from dalle_jax.sweeps.grid import Sweep, base_of, sweep_name
from dalle_jax.sweeps.layout import SweepLayout, lay_out
from dalle_jax.sweeps.slurm import TIME_OVER


def sweep(
    experiment: str | Path,
    workdir: str | Path,
    *,
    scale: str = "tiny",
    backend: Literal["local", "slurm"] = "local",
    workers: int = 1,
    share: bool = False,
    retries: int = 1,
    max_hours: float = float("inf"),
    reuse: Sequence[Path] = (),
    overrides: Sequence[str] = (),
    slurm: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> int:
    """Train and measure every point of an experiment file that is missing in a workdir.

    The table is WORKDIR/NAME-SCALE/results.csv; `sweeps.results.table` reads it.

    Args:
        experiment: a file that defines get_sweep(scale).
        workdir: whose sweeps share their runs.
        scale: of the experiment.
        backend: where jobs run.
        workers: processes at a time; Slurm's array tasks.
        share: whether several workers use one core or GPU.
        retries: of a job that comes no further.
        max_hours: after which no new job is started.
        reuse: workdirs of `train` whose fitting runs are taken over.
        overrides: of the config of all points, as "--config.some.name=value".
        slurm: resources that are asked of Slurm.
        dry_run: only print what would be done and cost.

    Returns:
        0 if all of it is done (or submitted); else what stopped it, as an exit code.

    Raises:
        FileNotFoundError: a file, a run or the data are not there.
        ValueError: a setting, metric or name of a point is wrong; the message names the point.
    """
    path, workdir = Path(experiment), Path(workdir)
    defined = load_sweep(path, scale)
    check_overrides(defined, path.parent, overrides)
    config = find_config(defined.config, path.parent).resolve()
    defined = with_cli_overrides(defined, overrides, load(config, {}))
    layout = SweepLayout(
        workdir.absolute(), sweep_name(f"{path.stem}-{scale}", defined.cli_overrides)
    )
    signatures = data_signatures(layout.workdir, scan=not dry_run)
    graph = build_graph(defined, lambda overrides: load(config, overrides), signatures)

    # This process computes nothing, and is to take no GPU from those that do.
    jax.config.update("jax_platforms", "cpu")
    check_points(graph)
    if dry_run:
        from dalle_jax.sweeps.plan import print_plan
        from dalle_jax.sweeps.workers import divide

        # Each task of Slurm has all that it is given, here as if that were this machine.
        slurm_tasks = backend == "slurm" and divide(1) * workers
        print_plan(graph, layout, reuse, slurm_tasks or divide(workers, share=share))
        return 0
    lay_out(layout, graph, reuse)
    write_definition(layout, graph, config)
    if backend == "slurm":
        from dalle_jax.sweeps.slurm import submit

        command = [sys.executable, "-m", "dalle_jax", "sweep", str(path.resolve())]
        command += [f"--workdir={layout.workdir}", f"--scale={scale}"]
        command += [f"--retries={retries}", f"--max-hours={max_hours}"]
        command += [f"--reuse={','.join(map(str, reuse))}"] if reuse else []
        tasks = (workers, layout.directory / "slurm", slurm or {})
        submitted = submit([*command, *overrides], *tasks)
        print(f"submitted: {submitted}; `dalle-jax report {layout.directory}` shows how it stands")
        return 0
    limits = {"retries": retries, "max_hours": max_hours}
    return walk(graph, layout, config, workers=workers, share=share, **limits)


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
