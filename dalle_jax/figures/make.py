"""A figure of a paper: what is missing for it is trained and measured, then it is drawn."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.config.user_files import naming_errors
from dalle_jax.figures.figure import Figure, Measured
from dalle_jax.figures.files import find_file, full_scale, load_figure
from dalle_jax.figures.record import Made, save, tell, why_not_replaced
from dalle_jax.sweeps.experiment import check_overrides
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.record import ended_now, origin_now, used_by_this_process
from dalle_jax.sweeps.slurm import TIME_OVER

STOPPED = 128  # and the number of a signal: nothing is drawn


@dataclass(frozen=True)
class FigureOptions:
    """How a figure is made.

    Attributes:
        scale: of the figure's SCALES.
        workdir: a trained system; None trains one.
        features: a trained run for distances; None trains one.
        sweeps: workdir of what is trained and measured for it, shared with other figures.
        reuse: workdirs whose fitting runs are taken over.
        out: folder of the files that are made.
        captions: that it is measured on; None for the scale's.
        workers: processes at a time.
        max_hours: after which nothing more is started, and what is there is drawn.
        overrides: of the config of all points, as `--config.some.setting=value`.
        dry_run: only print what would be done.
    """

    scale: str = "tiny"
    workdir: Path | None = None
    features: str | None = None
    sweeps: Path = Path("runs/sweeps")
    reuse: Sequence[Path] = ()
    out: Path = Path("figures")
    captions: int | None = None
    workers: int = 1
    max_hours: float = float("inf")
    overrides: Sequence[str] = ()
    dry_run: bool = False


def figure(name: str, **options: Any) -> int:
    """Train and measure what is missing for a figure, draw it, and print whether its claims hold.

    Args:
        name: of a file of experiments/figures, or the path of a file.
        options: how it is made, see `FigureOptions`.

    Returns:
        0 if all of it was done; else what stopped it, as an exit code.

    Raises:
        FileNotFoundError: a run or file is not there.
        ValueError: there is no such figure or scale, or an option does not fit it.
    """
    chosen = FigureOptions(**options)
    path = find_file(name)
    if chosen.scale == "paper" and (configs := full_scale(path)):
        _print_full_scale(path, configs)
        return 0
    until = time.monotonic() + 3600 * chosen.max_hours
    return _make(load_figure(path, chosen.scale), path, chosen, until=until)


def _make(figure: Figure, path: Path, options: FigureOptions, *, until: float) -> int:
    """Train, measure and draw; the exit code."""
    if figure.sweep is None:
        if options.workdir or options.captions or options.overrides:
            raise ValueError(f"{path.stem} needs no trained network, and takes no options of one")
        if options.dry_run:
            print(f"{path.stem} needs no trained network: nothing is to be trained or measured")
            return 0
        code, missing, changed, measured, done = 0, [], {}, *_of_no_network(figure)
    else:
        if not options.workdir:
            check_overrides(figure.sweep, path.parent, options.overrides)
        from dalle_jax.figures.sweep import done_for, measured_of, missing_of, swept

        began = origin_now(machine="")  # by what code this process measures
        code, own = swept(figure, path, options, until)
        if options.dry_run:
            own.print_plan()
        if options.dry_run or code > STOPPED:
            return code
        if code != TIME_OVER:
            own.measure_missing(until, began)
        measured, done, missing = measured_of(own), done_for(own), missing_of(own)
        changed = own.graph.cli_overrides
        if missing and time.monotonic() > until:
            code = code or TIME_OVER
    if not (rows := measured.table):
        print("nothing is measured yet; the same command goes on")
        return code
    scale = [options.scale, *(f"{knob}={value}" for knob, value in changed.items())]
    scale += [f"{options.captions} captions"] if options.captions else []
    with naming_errors(path):
        claims = figure.claims(rows)
    made = Made(path.stem, ", ".join(scale), rows, claims, done, missing)
    if refused := why_not_replaced(made, options.out):
        print(refused, file=sys.stderr)
        return code or 1
    import matplotlib

    matplotlib.use("Agg")
    with naming_errors(path):
        drawn = figure.draw(rows, measured.images)
    record, files = save(made, drawn, options.out)
    tell(record, path, files)
    return code


def _of_no_network(figure: Figure) -> tuple[Measured, list[dict[str, Any]]]:
    """What a figure measures that needs no training, and what that took."""
    began, origin = time.time(), origin_now(own_machine())
    measured = figure.measure()
    used = used_by_this_process()._replace(seconds=time.time() - began)
    return measured, [ended_now(used, origin)]


def _print_full_scale(path: Path, configs: list[str]) -> None:
    print(
        f"{path.stem} at the paper's scale is of {', '.join(configs)}: for a pod, not from here.\n"
    )
    print("What a step of them takes of each device, and their training:")
    for config in configs:
        print(f"  dalle-jax train --config={config} --explain --mesh=fsdp=8,data=8")
        print(f"  dalle-jax train --config={config} --workdir=WORKDIR --config.data.source=SOURCE")
    small = f"dalle-jax figure {path.stem} --scale=small --dry-run"
    print(f"\n`{small}` tells what is varied, as overrides of a config.")
