"""`dalle-jax report`: a sweep's results as one HTML page that needs no other file."""

from dalle_jax.cli.options import Parser, local_path
from dalle_jax.cli.output_paths import OutputFile

EXAMPLE = """example:
  dalle-jax report runs/sweeps/guidance-tiny
"""
DESCRIPTION = """Draw a sweep's results as one HTML page, at any time while it runs and after it.

It holds the table of all points, which can be sorted by overrides, metrics and costs; the curves of
the losses; samples of all points for the same captions and noise; and what differs between the
configs of two points."""


def run(argv: list[str]) -> int:
    """Read the results of a sweep and write its page."""
    args = make_parser().parse_args(argv)
    from dalle_jax.cli.sweep_report import write_page

    print(f"report: {write_page(args.workdir, args.out)}")
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser("report", DESCRIPTION, EXAMPLE)
    parser.add_argument("workdir", type=local_path, help="of a sweep: WORKDIR/NAME-SCALE")
    parser.add_argument("--out", type=OutputFile(), help="a file; WORKDIR/report.html otherwise")
    return parser
