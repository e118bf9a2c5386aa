"""`dalle-jax evaluate`: measure a trained workdir on held-out captions, or two sets of images."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalle_jax.cli.inputs import check_files, check_workdir
from dalle_jax.cli.options import OneOf, Parser, SomeOf, Suggested, count, local_path, path_text
from dalle_jax.cli.sampling_options import add_sampling, sampling_settings
from dalle_jax.config.choices import FITS, PREPROCESSINGS, SPLITS, WEIGHTS
from dalle_jax.metrics.table import CAPTION_METRICS, METRICS, NETWORK_OPTIONS, OLD_NAMES
from dalle_jax.seeds import LIMIT

if TYPE_CHECKING:
    from dalle_jax.evaluation.evaluated import Evaluated

EXAMPLE = """examples:
  dalle-jax evaluate --workdir=runs/quickstart --split=test --n=512
  dalle-jax evaluate --workdir=runs/quickstart --manifest=test.jsonl --seeds=0,1,2 \\
      --metrics=oracle,fid,kid,prdc --features=runs/features --guidance_scale=2
  dalle-jax evaluate --fake=samples/ --real=photos/ --inception=inception.safetensors
"""
DESCRIPTION = """Draw an image of each held-out caption with a trained workdir, and measure them.

The images are stored in WORKDIR/generated: several processes may run the same command at once, and
one that was stopped goes on. A row for each kind of metric is added to WORKDIR/results.jsonl, what
is there already is printed unchanged, and WORKDIR/report.html shows it all. Two sets of
images are measured against each other with --fake and --real, whose options
`dalle-jax evaluate --fake --help` shows."""


def run(argv: list[str]) -> int:
    """Measure, write, print."""
    if any(option.partition("=")[0] == "--fake" for option in argv):
        from dalle_jax.cli import evaluate_folders

        return evaluate_folders.run(argv)
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.points:
        run_points(args.points)
        return 0
    if not args.workdir:
        parser.error("--workdir is needed")
    if args.images and not args.manifest:
        parser.error("--images says where a manifest's images lie: give --manifest=FILE.jsonl too")
    check_workdir(args.workdir)
    check_files("caption manifest", [args.manifest])
    for name in ("inception", *NETWORK_OPTIONS, "reference"):
        check_files(f"--{name}", [getattr(args, name)])
    from dalle_jax.evaluation.options import KNOWN_OPTIONS, evaluation_of
    from dalle_jax.evaluation.workdir import evaluate_workdir

    options = {name: value for name, value in vars(args).items() if name in KNOWN_OPTIONS}
    sampling = sampling_settings(parser, args)
    report(evaluate_workdir(evaluation_of(args.workdir, options, sampling)))
    return 0


def run_points(path: Path) -> None:
    """Measure the points of a sweep that a file names."""
    from dalle_jax.evaluation.generated import PipelineCache
    from dalle_jax.evaluation.options import evaluation_of
    from dalle_jax.evaluation.workdir import evaluate_workdir
    from dalle_jax.sweeps.points import measure_points
    from dalle_jax.training.memory import give_back

    cache = PipelineCache()

    def measure(point: Mapping[str, Any], on_progress: Callable[[int, int], None]) -> None:
        evaluation = evaluation_of(Path(point["workdir"]), point["options"], point["sampling"])
        report(evaluate_workdir(evaluation, cache, on_progress))
        give_back()

    measure_points(path, measure)


def report(found: "Evaluated") -> None:
    """Print the rows, and write the report."""
    from dalle_jax.evaluation.tables import print_row
    from dalle_jax.html.evaluation import write_report

    for row in found.rows:
        print_row(row)
    if found.samples:
        print(f"pictures: {found.samples}")
    print(f"report: {write_report(found)}")


def make_parser() -> Parser:
    """The options of the command for a workdir; those for two sets are in `evaluate_folders`."""
    parser = Parser("evaluate", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    option("--workdir", type=local_path, help="of the trained system")
    text = "several workdirs and their options, as `dalle-jax sweep` writes them"
    option("--points", metavar="FILE", type=local_path, help=text)
    text = "captions; made by `dalle-jax prepare --manifest`"
    option("--manifest", type=path_text, help=text)
    option("--images", help="where a manifest's images lie, as folder:PATH")
    text = "where the data of the run are now, as folder:PATH"
    option("--data_source", metavar="SOURCE", default="", help=text)
    text = "captions without a manifest, as"
    option("--split", type=Suggested(SPLITS), default="test", help=text)
    option("--n", type=count, help="how many captions; 512 of a split, else all")
    metrics = SomeOf((*CAPTION_METRICS, *METRICS), OLD_NAMES)
    option("--metrics", type=metrics, default="oracle", help="with commas, some of")
    text = "the network of fid and related metrics"
    option("--inception", metavar="FILE", type=path_text, help=text)
    text = "or a trained classifier or clip"
    option("--features", metavar="RUN", type=path_text, help=text)
    text = "of the metric clip; else WORKDIR's own"
    option("--clip", metavar="RUN", type=path_text, help=text)
    add_preprocessing(parser)
    text = "reals; the manifest's own, if none"
    option("--reference", metavar="PATH", type=path_text, help=text)
    option("--seeds", type=seeds, default="0", help="of sampling, as 0,1,2")
    option("--kid_subset_size", type=count, help="1,000, or half of n if that is less")
    text = "look for the captions and images in the training data, and measure without them too"
    option("--leakage", action="store_true", help=text)
    option("--weights", type=OneOf(WEIGHTS), default="ema", help="ema: averaged over training")
    parser.add_quiet()
    add_sampling(parser)
    parser.also = ("--fake", "--real")
    return parser


def add_preprocessing(parser: Parser) -> None:
    """How images become the input of a network of features."""
    option = parser.add_argument
    text = "of Inception, as the tool does it"
    option("--preprocess", type=OneOf(PREPROCESSINGS), default="torch-fidelity", help=text)
    text = "what is not square: squeeze or crop"
    option("--fit", type=OneOf(FITS), default="squeeze", help=text)
    known, text = ("none", "png", "jpeg:75"), "encode and decode images first: none, png, or "
    option("--round_trip", type=Suggested(known), default="none", help=f"{text}jpeg:QUALITY")


def seeds(text: str) -> tuple[int, ...]:
    """A `type` of options: different whole numbers with commas."""
    try:
        numbers = tuple(int(seed) for seed in text.split(","))
    except ValueError:
        numbers = ()
    in_range = all(0 <= number < LIMIT for number in numbers)
    if not numbers or len(set(numbers)) < len(numbers) or not in_range:
        raise argparse.ArgumentTypeError(
            f"is a list of different whole numbers such as 0,1,2, each below 2**64, not {text!r}"
        )
    return numbers
