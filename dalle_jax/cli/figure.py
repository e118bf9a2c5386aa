"""`dalle-jax figure`: make a figure of a paper, training and measuring what is missing for it."""

import dataclasses

from dalle_jax.cli.options import OneOf, Parser, count, hours, local_path, local_paths, path_text
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.choices import SCALES
from dalle_jax.config.load import PREFIX

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
it was made. Any setting is given for all points as --config.some.name=value."""


def run(argv: list[str]) -> int:
    """Make one figure, or list them."""
    args = make_parser().parse_args(argv)
    from dalle_jax.config import places
    from dalle_jax.figures.make import FigureOptions, figure
    from dalle_jax.figures.summaries import print_list, write_readme

    if args.list or args.readme:
        figures, results = places.experiment_files("get_figure"), places.EXPERIMENTS / "results"
        if args.list:
            print_list(figures, results)
        else:
            write_readme(figures, results, results.with_name("README.md"))
        return 0
    if args.name is None:
        raise ValueError("name a figure; `dalle-jax figure --list` shows them")
    names = {field.name for field in dataclasses.fields(FigureOptions)}
    options = {name: value for name, value in vars(args).items() if name in names}
    return figure(args.name, **options)


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("figure", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("name", nargs="?", help="one of experiments/figures by name, or a file")
    option("--list", action="store_true", help="the figures, their cost and status")
    option("--scale", type=OneOf(SCALES), default="tiny", help="of the figure")
    option("--workdir", type=local_path, help="a trained system; else one is trained")
    text = "a trained run for distances; else one is trained"
    option("--features", type=path_text, help=text)
    text = "workdir of what is missing"
    option("--sweeps", type=output_folder, default="runs/sweeps", help=text)
    text = "workdirs whose fitting runs are taken over"
    option("--reuse", type=local_paths, default=[], help=text)
    text = "folder of the files that are made"
    option("--out", type=output_folder, default="figures", help=text)
    option("--captions", type=count, help="that it is measured on, instead of the scale's number")
    option("--workers", type=count, default=1, help="processes at a time")
    text = "then nothing more is started, and what is there is drawn"
    option("--max-hours", type=hours, default=float("inf"), help=text)
    option("--dry-run", action="store_true", help="print what would be done")
    text = "write the list of experiments/README.md anew"
    option("--readme", action="store_true", help=text)
    parser.add_quiet()
    parser.add_prefix(PREFIX, "overrides")
    return parser
