"""`dalle-jax figure`: train and measure what is missing for a figure of a paper, then draw it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.config.places import find_experiment
from dalle_jax.config.user_files import naming_errors
from dalle_jax.figures.figure import Figure
from dalle_jax.figures.files import full_scale, load_figure
from dalle_jax.figures.record import Results, record_of, save, why_not_replaced
from dalle_jax.figures.summaries import print_full_scale, print_record
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.record import ended_now, origin_now, used_by_this_process
from dalle_jax.sweeps.sweep import check_overrides


@dataclass(frozen=True)
class FigureOptions:
    """How a figure is made.

    Attributes:
        scale: of the figure's SCALES.
        workdir: a trained system; None trains one.
        features: a trained run for distances; None trains one.
        sweeps: workdir of what is trained and measured for it, shared with other figures.
        reuse: workdirs whose matching runs are reused.
        out: folder of the files that are made.
        captions: number to measure on; None for the scale's.
        workers: processes at a time.
        max_hours: after which nothing more is started, and what is measured is drawn.
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
        FileNotFoundError: a run or file is not there, or there is no such figure.
        ValueError: there is no such scale, or an option does not fit the figure.
    """
    chosen = FigureOptions(**options)
    path = find_experiment(name, "get_figure")
    if chosen.scale == "paper" and (configs := full_scale(path)):
        print_full_scale(path, configs)
        return 0
    figure = load_figure(path, chosen.scale)
    until = time.monotonic() + 3600 * chosen.max_hours
    if figure.sweep is None:
        code, found = 0, _without_network(figure, path, chosen)
    else:
        if not chosen.workdir:
            check_overrides(figure.sweep, path.parent, chosen.overrides)
        # A wrong file or option is refused before jax is imported, which takes seconds.
        from dalle_jax.figures.sweep import train_and_measure

        code, found = train_and_measure(figure, path, chosen, until)
    if found is None:
        return code
    if not found.rows:
        print("nothing is measured yet; the same command goes on")
        return code
    with naming_errors(path):
        claims = figure.claims(found.rows)
    scale = [chosen.scale, *(f"{name}={value}" for name, value in found.changed.items())]
    scale += [f"{chosen.captions} captions"] if chosen.captions else []
    record = record_of(path.stem, ", ".join(scale), claims, found)
    if refused := why_not_replaced(record, chosen.out):
        print(refused, file=sys.stderr)
        return code or 1
    import matplotlib

    matplotlib.use("Agg")
    with naming_errors(path):
        picture = figure.draw(found.rows, found.images)
    print_record(record, path, save(record, found.rows, picture, chosen.out))
    return code


def _without_network(figure: Figure, path: Path, options: FigureOptions) -> Results | None:
    """What a figure measures that needs no training; None in a dry run."""
    if options.workdir or options.captions or options.overrides:
        raise ValueError(f"{path.stem} needs no trained network, and takes no options of one")
    if options.dry_run:
        print(f"{path.stem} needs no trained network: nothing is to be trained or measured")
        return None
    began, origin = time.time(), origin_now(own_machine())
    measured = figure.measure()
    used = used_by_this_process()._replace(seconds=time.time() - began)
    return Results(measured.table, measured.images, [ended_now(used, origin)])
