"""`dalle-jax sweep`: train and measure each point of an experiment file."""

from dalle_jax.cli.options import (
    Number,
    OneOf,
    Parser,
    count,
    hours,
    literal,
    local_path,
    local_paths,
)
from dalle_jax.cli.output_paths import output_folder
from dalle_jax.config.choices import SCALES
from dalle_jax.config.load import PREFIX
from dalle_jax.sweeps.sweep import sweep

SLURM = "--slurm."

EXAMPLE = """examples:
  dalle-jax sweep guidance --workdir=runs/sweeps --scale=tiny --dry-run
  dalle-jax sweep guidance --workdir=runs/sweeps --scale=tiny --reuse=runs/quickstart
  dalle-jax sweep guidance --workdir=/shared/sweeps --scale=small \\
      --backend=slurm --workers=8 --slurm.partition=gpu --slurm.gpus_per_node=1
"""
DESCRIPTION = """Train and measure every point of an experiment file.

Stages that two points share are trained once, what is there is reused, what crashed is tried again
and the other points go on; the same command goes on after any stop, and several may run on one
workdir at once. The table of results is WORKDIR/NAME-SCALE/results.csv; `dalle-jax report` draws
it. Any setting is given for all points as --config.some.name=value, and resources that are asked of
Slurm as --slurm.name=value."""


def run(argv: list[str]) -> int:
    """Run the sweep, or print what it would do and cost."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.slurm and args.backend != "slurm":
        parser.error(f"{args.slurm[0]} is asked of Slurm; give --backend=slurm with it")
    options = vars(args)
    asked = (option.removeprefix(SLURM).partition("=") for option in options.pop("slurm"))
    options["slurm"] = {name: literal(text) for name, _, text in asked}
    options.pop("quiet", None)
    return sweep(**options)


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("sweep", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    text = "one of experiments/ by name, or a file with get_sweep(scale)"
    option("experiment", type=local_path, help=text)
    text = "sweeps in one workdir share their runs"
    option("--workdir", type=output_folder, required=True, help=text)
    option("--scale", type=OneOf(SCALES), default="tiny", help="of the experiment")
    option("--backend", type=OneOf(("local", "slurm")), default="local", help="where jobs run")
    option("--workers", type=count, default=1, help="processes; Slurm's array tasks")
    option("--share", action="store_true", help="several workers on one core or GPU")
    option("--retries", type=Number(int, 0), default=1, help="of a job that comes no further")
    text = "then no new job is started"
    option("--max-hours", type=hours, default=float("inf"), help=text)
    text = "workdirs of `train`, with commas; fitting runs are taken over"
    option("--reuse", type=local_paths, default=[], help=text)
    option("--dry-run", action="store_true", help="print what would be done")
    parser.add_quiet()
    parser.add_prefix(PREFIX, "overrides")
    parser.add_prefix(SLURM, "slurm")
    return parser
