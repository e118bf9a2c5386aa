"""`dalle-jax figure`: make a figure of a paper, training and measuring what is missing for it."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import dalle_jax
from dalle_jax.cli.inputs import check_overrides
from dalle_jax.cli.options import OneOf, Parser, count, hours, local_path, local_paths, path_text
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.choices import SCALES
from dalle_jax.config.load import PREFIX
from dalle_jax.config.user_files import UserFile, naming_errors
from dalle_jax.figures.cache import used_by_this_process
from dalle_jax.figures.figure import Figure, Measured
from dalle_jax.figures.record import (
    Made,
    print_list,
    save,
    tell,
    why_not_replaced,
    write_readme,
)
from dalle_jax.nearest import nearest
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.record import ended_now, origin_now
from dalle_jax.sweeps.slurm import TIME_OVER

EXPERIMENTS = Path(dalle_jax.__file__).parents[1] / "experiments"
STOPPED = 128  # and the number of a signal: nothing is drawn

EXAMPLE = """examples:
  dalle-jax figure --list
  dalle-jax figure schedules
  dalle-jax figure ddim_steps --workdir=runs/quickstart --features=runs/features
  dalle-jax figure ddim_steps --scale=small --dry-run
"""
DESCRIPTION = """Make a figure of a paper, and say whether what the paper claims holds here.

What is missing is trained and measured as `dalle-jax sweep` does it, in the workdir of --sweeps,
where all figures and sweeps share what they have in common; the same command goes on after any
stop. OUT/NAME.png, .pdf and .csv are the figure and its numbers, OUT/NAME.json its claims and how
it was made. Any knob is set for all points as --config.some.knob=value."""


def run(argv: list[str]) -> int:
    """Make one figure, or list them."""
    args = make_parser().parse_args(argv)
    args.until = time.monotonic() + 3600 * args.max_hours
    if args.list:
        print_list(figure_files(), EXPERIMENTS / "results")
        return 0
    if args.readme:
        write_readme(figure_files(), EXPERIMENTS / "results", EXPERIMENTS / "README.md")
        return 0
    if args.name is None:
        raise ValueError("name a figure; `dalle-jax figure --list` shows them")
    path = find_file(args.name)
    if args.scale == "paper" and (configs := full_scale(path)):
        _tell_full_scale(path, configs)
        return 0
    return _make(load_figure(path, args.scale), path, args)


def _make(figure: Figure, path: Path, args: argparse.Namespace) -> int:
    """Train, measure and draw; the exit code."""
    if figure.sweep is None:
        if args.workdir or args.captions or args.overrides:
            raise ValueError(f"{path.stem} needs no trained network, and takes no options of one")
        if args.dry_run:
            print(f"{path.stem} needs no trained network: nothing is to be trained or measured")
            return 0
        code, missing, changed, measured, done = 0, [], {}, *_of_no_network(figure)
    else:
        if not args.workdir:
            check_overrides(figure.sweep, path.parent, args.overrides)
        from dalle_jax.figures.sweep import done_for, measured_of, missing_of, swept

        began = origin_now(machine="")  # by what code this process measures
        code, own = swept(figure, path, args)
        if args.dry_run:
            own.print_plan()
        if args.dry_run or code > STOPPED:
            return code
        if code != TIME_OVER:
            own.measure_missing(args.until, began)
        measured, done, missing = measured_of(own), done_for(own), missing_of(own)
        changed = own.graph.typed
        if missing and time.monotonic() > args.until:
            code = code or TIME_OVER
    if not (rows := measured.table):
        print("nothing is measured yet; the same command goes on")
        return code
    scale = [args.scale, *(f"{knob}={value}" for knob, value in changed.items())]
    scale += [f"{args.captions} captions"] if args.captions else []
    with naming_errors(path):
        claims = figure.claims(rows)
    made = Made(path.stem, ", ".join(scale), rows, claims, done, missing)
    if refused := why_not_replaced(made, args.out):
        print(refused, file=sys.stderr)
        return code or 1
    import matplotlib

    matplotlib.use("Agg")
    with naming_errors(path):
        drawn = figure.draw(rows, measured.images)
    record, files = save(made, drawn, args.out)
    tell(record, path, files)
    return code


def _of_no_network(figure: Figure) -> tuple[Measured, list[dict[str, Any]]]:
    """What a figure measures that needs no training, and what that took."""
    began, origin = time.time(), origin_now(own_machine())
    measured = figure.measure()
    used = used_by_this_process()._replace(seconds=time.time() - began)
    return measured, [ended_now(used, origin)]


def figure_files() -> dict[str, Path]:
    """The files of experiments/figures by name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not EXPERIMENTS.is_dir():
        raise FileNotFoundError(
            f"there is no {EXPERIMENTS}: figures belong to a checkout of the project and are "
            "not in its package; run `pip install -e .` there, or give a figure's file"
        )
    return {path.stem: path for path in sorted((EXPERIMENTS / "figures").glob("*.py"))}


def find_file(name: str) -> Path:
    """The file of a figure, by its name or as a path.

    Raises:
        ValueError: there is none; those that there are are named.
    """
    if name.endswith(".py") and (path := Path(name).expanduser()).is_file():
        return path
    known = figure_files()
    if name not in known:
        raise ValueError(
            f"there is no figure {name!r}{nearest(name, known)}; known are {', '.join(known)}"
        )
    return known[name]


def full_scale(path: Path) -> list[str]:
    """The full-scale configs that a figure's file names in PAPER; none if it has no network."""
    return [f"configs/dalle2/{name}.py" for name in UserFile(path).get("PAPER", ())]


def _tell_full_scale(path: Path, configs: list[str]) -> None:
    print(
        f"{path.stem} at the paper's scale is of {', '.join(configs)}: for a pod, not from here.\n"
    )
    print("What a step of them takes of each device, and their training:")
    for config in configs:
        print(f"  dalle-jax train --config={config} --explain --mesh=fsdp=8,data=8")
        print(f"  dalle-jax train --config={config} --workdir=WORKDIR --config.data.source=SOURCE")
    small = f"dalle-jax figure {path.stem} --scale=small --dry-run"
    print(f"\n`{small}` tells what is varied, as overrides of a config.")


def load_figure(path: Path, scale: str) -> Figure:
    """What `get_figure(scale)` of a file gives.

    Raises:
        ValueError: it defines no figure, or none of this scale.
    """
    file = UserFile(path)
    if file.get("get_figure") is None:
        raise ValueError(f"{path} is no figure: it defines no get_figure(scale)")
    try:
        figure = file.call("get_figure", scale)
    except ValueError as error:
        if isinstance(error.__cause__, KeyError) and error.__cause__.args == (scale,):
            known = f"; it has {', '.join(scales)}" if (scales := file.get("SCALES")) else ""
            raise ValueError(f"{path.stem} has no scale {scale!r}{known}") from error
        raise
    if not isinstance(figure, Figure):
        raise ValueError(f"get_figure of {path} gives a {type(figure).__name__}, not a Figure")
    return figure


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser("figure", DESCRIPTION, EXAMPLE)
    parser.add_argument("name", nargs="?", help="a figure of experiments/figures, or a file")
    parser.add_argument("--list", action="store_true", help="the figures, their cost and status")
    parser.add_argument("--scale", type=OneOf(SCALES), default="tiny", help="of the figure")
    parser.add_argument("--workdir", type=local_path, help="a trained system; else one is trained")
    parser.add_argument(
        "--features", type=path_text, help="a trained run for distances; else one is trained"
    )
    parser.add_argument(
        "--sweeps", type=output_folder, default="runs/sweeps", help="workdir of what is missing"
    )
    parser.add_argument(
        "--reuse", type=local_paths, default=[], help="workdirs whose fitting runs are taken over"
    )
    parser.add_argument(
        "--out", type=output_folder, default="figures", help="folder of the files that are made"
    )
    parser.add_argument(
        "--captions", type=count, help="that it is measured on, in the place of the scale's"
    )
    parser.add_argument("--workers", type=count, default=1, help="processes at a time")
    parser.add_argument(
        "--max-hours",
        type=hours,
        default=float("inf"),
        help="then nothing more is started, and what is there is drawn",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument(
        "--readme", action="store_true", help="write the list of experiments/README.md anew"
    )
    parser.add_quiet()
    parser.add_prefix(PREFIX, "overrides")
    return parser
