"""`dalle-jax bench`: how fast a config trains and samples here, against what the device can do."""

from dalle_jax.cli.options import Parser, SomeOf, count, local_path
from dalle_jax.cli.output_paths import OutputFile
from dalle_jax.config.load import PREFIX, chosen_stages, load_config

EXAMPLE = """examples:
  dalle-jax bench --config=quickstart
  dalle-jax bench --config=quickstart --sweep=batch,remat --csv=bench.csv
"""

# What a sweep varies, one at a time.
SWEEPS = ("batch", "mesh", "dtype", "remat", "scan", "accumulate")
DESCRIPTION = (
    "Time the training step and the sampling of a config's stages with random weights, images and "
    "captions. Between the steps a matrix product is timed, for the share of this device's peak. "
    "Any setting of the config is given as --config.some.name=value."
)


def run(argv: list[str]) -> int:
    """Time the stages; the exit code is 1 where a point could not be measured."""
    args = make_parser().parse_args(argv)
    config = load_config(args.config, args.overrides).to_dict()
    stages = chosen_stages(args.config, config, args.stage)
    from dalle_jax.cost.bench_table import bench

    how = {"rounds": args.rounds, "block": args.block, "csv_path": args.csv}
    return 1 if bench(config, stages, args.sweep, **how) else 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("bench", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("--config", required=True, type=local_path, help="a name such as quickstart, or a file")
    option("--stage", help="only this stage of the config")
    option("--sweep", type=SomeOf(SWEEPS), default=(), help="some, with commas, of")
    option("--rounds", type=count, default=5, help="whose median is reported")
    option("--block", type=count, default=10, help="steps a round")
    option("--csv", type=OutputFile(), metavar="FILE", help="also write the rows to this file")
    parser.add_prefix(PREFIX, "overrides")
    return parser
