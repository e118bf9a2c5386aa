"""`dalle-jax evaluate --fake=DIR --real=DIR`: FID and related metrics of any two sets of images."""

from dalle_jax import console
from dalle_jax.cli.evaluate import add_preprocessing
from dalle_jax.cli.inputs import check_files
from dalle_jax.cli.options import OneOf, Parser, SomeOf, count, path_text, whole
from dalle_jax.cli.output_paths import OutputFile
from dalle_jax.metrics.table import METRICS

EXAMPLE = """examples:
  dalle-jax evaluate --fake=samples/ --real=photos/ --metrics=fid,kid,prdc,is \\
      --inception=inception.safetensors --out=results.jsonl
  dalle-jax evaluate --fake=samples.npz --real=fid_stats.npz --metrics=fid --intervals=off \\
      --inception=inception.safetensors
"""
DESCRIPTION = (
    "Measure one set of images against another. A set is a folder, or a .npz or .npy of uint8 "
    "[N, H, W, 3]; the real one may also be statistics, for fid and sfid: those of "
    "--save_statistics, pytorch-fid or guided-diffusion."
)


def run(argv: list[str]) -> int:
    """Measure, append the row, print its table."""
    args = make_parser().parse_args(argv)
    check_files("folder or file", [args.fake, args.real, args.inception, args.features])
    from dalle_jax.evaluation.folders import evaluate_folders
    from dalle_jax.evaluation.tables import print_row
    from dalle_jax.metrics.metric import Settings
    from dalle_jax.metrics.preprocess import Preprocessing
    from dalle_jax.metrics.results import append_row

    if not 0 <= args.seed < 2**32:  # numpy's older generators, which torch-fidelity draws with
        raise ValueError(f"--seed is {args.seed}; it must be a whole number from 0 to 2**32 − 1")
    row = evaluate_folders(
        args.fake,
        args.real,
        list(args.metrics),
        args.inception,
        Preprocessing(args.preprocess, args.fit, args.round_trip),
        Settings(
            kid_subsets=args.kid_subsets,
            kid_subset_size=args.kid_subset_size,
            is_splits=args.is_splits,
            intervals=args.intervals == "on",
            seed=args.seed,
        ),
        features=args.features,
        n=args.n,
        batch_size=args.batch_size,
        statistics_out=args.save_statistics,
    )
    row = {"fake": str(args.fake), **row}
    if args.out:
        append_row(args.out, row)
    console.progress("\n")
    print_row(row)
    return 0


def make_parser() -> Parser:
    """The options of the command for two sets of images."""
    parser = Parser("evaluate", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("--fake", type=path_text, required=True, help="the images that are measured")
    text = "images or statistics to measure against"
    option("--real", type=path_text, required=True, help=text)
    option("--metrics", type=SomeOf(tuple(METRICS)), default="fid", help="with commas, some of")
    option("--inception", type=path_text, help="weights, made by `dalle-jax convert inception`")
    text = "a trained classifier or clip instead of Inception"
    option("--features", metavar="RUN", type=path_text, help=text)
    add_preprocessing(parser)
    option("--n", type=count, help="how many fakes there must be; fewer is an error")
    option("--batch_size", type=count, default=64, help="images at a time")
    option("--kid_subsets", type=count, default=100, help="over which KID is a mean")
    option("--kid_subset_size", type=count, default=1000, help="images in each")
    option("--is_splits", type=count, default=10, help="over which IS is a mean")
    text = "off: no errors and no floor, and for fid and sfid a memory that does not grow"
    option("--intervals", type=OneOf(("on", "off")), default="on", help=text)
    option("--seed", type=whole, default=2020, help="of subsets and resampling")
    statistics = OutputFile((".npz",))
    option("--save_statistics", metavar="FILE.npz", type=statistics, help="of the real images")
    parser.add_quiet()
    option("--out", type=OutputFile(), help="append the row to this results.jsonl")
    return parser
