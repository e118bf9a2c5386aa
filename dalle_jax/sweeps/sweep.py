"""`dalle-jax sweep`: train and measure each point of an experiment file."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dalle_jax.config.load import PREFIX, load_config
from dalle_jax.config.places import find_experiment
from dalle_jax.config.user_files import UserFile, find_config
from dalle_jax.sweeps.grid import OTHER_CONFIG, Sweep, is_sampling, sweep_name


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
        experiment: a file that defines get_sweep(scale), or the name of one of the project's.
        workdir: whose sweeps share their runs.
        scale: of the experiment.
        backend: where jobs run.
        workers: processes at a time; Slurm's array tasks.
        share: whether several workers use one core or GPU.
        retries: of a job that comes no further.
        max_hours: after which no new job is started.
        reuse: workdirs of `train` whose matching runs are reused.
        overrides: of the config of all points, as "--config.some.name=value".
        slurm: resources requested from Slurm.
        dry_run: only print what would be done and cost.

    Returns:
        0 if all of it is done (or submitted); else what stopped it, as an exit code.

    Raises:
        FileNotFoundError: a file, a run or the data are not there.
        ValueError: a setting, metric or name of a point is wrong; the message names the point.
    """
    path = find_experiment(experiment, "get_sweep")
    defined = load_sweep(path, scale)
    check_overrides(defined, path.parent, overrides)
    # A wrong file is refused before jax is imported, which takes seconds.
    from dalle_jax.sweeps.checks import check_points
    from dalle_jax.sweeps.data_signatures import data_signatures
    from dalle_jax.sweeps.definition import write_definition
    from dalle_jax.sweeps.directories import lay_out
    from dalle_jax.sweeps.layout import SweepLayout
    from dalle_jax.sweeps.overrides import load_point, with_cli_overrides
    from dalle_jax.sweeps.plan import print_plan
    from dalle_jax.sweeps.run import leave_accelerators_to_jobs, run
    from dalle_jax.sweeps.shared_runs import build_graph
    from dalle_jax.sweeps.slurm import submit
    from dalle_jax.sweeps.workers import divide

    config = find_config(defined.config, path.parent).resolve()
    defined = with_cli_overrides(defined, overrides, load_point(config, {}))
    name = sweep_name(f"{path.stem}-{scale}", defined.cli_overrides)
    layout = SweepLayout(Path(workdir).absolute(), name)
    signatures = data_signatures(layout.workdir, scan=not dry_run)
    graph = build_graph(defined, lambda overrides: load_point(config, overrides), signatures)
    leave_accelerators_to_jobs()
    check_points(graph)
    if dry_run:
        # Each task of Slurm has all that it is given, here as if that were this machine.
        slurm_tasks = backend == "slurm" and divide(1) * workers
        print_plan(graph, layout, reuse, slurm_tasks or divide(workers, share=share))
        return 0
    lay_out(layout, graph, reuse)
    write_definition(layout, graph, config)
    if backend == "slurm":
        command = [sys.executable, "-m", "dalle_jax", "sweep", str(path.resolve())]
        command += [f"--workdir={layout.workdir}", f"--scale={scale}"]
        command += [f"--retries={retries}", f"--max-hours={max_hours}"]
        command += [f"--reuse={','.join(map(str, reuse))}"] if reuse else []
        tasks = (workers, layout.directory / "slurm", slurm or {})
        submitted = submit([*command, *overrides], *tasks)
        print(f"submitted: {submitted}; `dalle-jax report {layout.directory}` shows how it stands")
        return 0
    limits = {"retries": retries, "max_hours": max_hours}
    return run(graph, layout, config, workers=workers, share=share, **limits)


def load_sweep(path: Path, scale: str) -> Sweep:
    """What `get_sweep(scale)` of an experiment file gives.

    Raises:
        ValueError: it defines no sweep, none of this scale, or one that can't be.
    """
    return UserFile(path).make("get_sweep", scale, Sweep)


def check_overrides(sweep: Sweep, beside: Path, overrides: Sequence[str]) -> None:
    """Refuse overrides that the config of a sweep does not have.

    Not checked are those of sampling, which may be options of a sampler, and those of a sweep
    whose points have configs of their own.

    Raises:
        FileNotFoundError: the sweep's config is nowhere.
        ValueError: an override is unknown or mistyped.
    """
    config = find_config(sweep.config, beside)
    if any(OTHER_CONFIG in point for point in sweep.points):
        return
    names = {option: option.removeprefix(PREFIX).partition("=")[0] for option in overrides}
    load_config(config, [option for option, name in names.items() if not is_sampling(name)])
