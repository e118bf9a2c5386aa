"""`dalle-jax report`: a sweep's results as one HTML page that needs no other file."""

from pathlib import Path

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
    """Write the page and print where it is."""
    args = make_parser().parse_args(argv)
    directory = find_sweep(args.workdir)
    from dalle_jax.html.sweep import write_report

    print(f"report: {write_report(directory, args.out)}")
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser("report", DESCRIPTION, EXAMPLE)
    parser.add_argument("workdir", type=local_path, help="of a sweep: WORKDIR/NAME-SCALE")
    parser.add_argument("--out", type=OutputFile(), help="a file; WORKDIR/report.html otherwise")
    return parser


def find_sweep(workdir: Path) -> Path:
    """The directory of a sweep: the one given, or the only one in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several.
    """
    if (workdir / "sweep.json").exists():
        return workdir
    found = sorted(path.parent for path in workdir.glob("*/sweep.json"))
    if not found:
        raise FileNotFoundError(
            f"{workdir} holds no sweep (it has no sweep.json); `dalle-jax sweep` makes one"
        )
    if len(found) > 1:
        raise ValueError(f"{workdir} holds several sweeps; name one: {', '.join(map(str, found))}")
    return found[0]
