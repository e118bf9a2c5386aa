"""`dalle-jax compare`: rank rows of results that may be ranked, and test what differs."""

from dalle_jax.cli.options import Parser, local_path

EXAMPLE = """examples:
  dalle-jax compare runs/a/results.jsonl runs/b/results.jsonl --metric=oracle/caption
  dalle-jax compare runs/a/results.jsonl --metric=fd --vary=sampling.guidance_scale
  dalle-jax compare coco_train.npz coco_val.npz
"""
DESCRIPTION = """Rank rows of results by a metric, best first.

Rows of different protocols are refused, and what differs is named; what is meant to differ is given
as --vary. Each row is tested against the best on the same captions and noise: by McNemar's exact
test where a caption is right or wrong, by random signs of the captions' differences where it has
a score, and distances by a jackknife that leaves out the same captions of both.

Of files of reference statistics it prints what they hold, and how far they are from the first."""


def run(argv: list[str]) -> int:
    """Rank rows of results, or describe files of statistics."""
    args = make_parser().parse_args(argv)
    if all(path.suffix == ".npz" for path in args.results):
        from dalle_jax.evaluation import compare_statistics

        compare_statistics.show(args.results)
        return 0
    from dalle_jax.evaluation.compare import compare

    vary = [name.strip() for name in args.vary.split(",") if name.strip()]
    compare(args.results, args.metric, vary=vary, protocol_hash=args.protocol)
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("compare", DESCRIPTION, EXAMPLE)
    option = parser.add_argument
    text = "files of rows, results.jsonl; or of statistics, .npz"
    option("results", nargs="+", type=local_path, help=text)
    option("--metric", help="as oracle/caption, fid, fd, precision")
    text = "what may differ, as sampling.guidance_scale,sampling.sampler"
    option("--vary", default="", help=text)
    option("--protocol", help="only rows of this protocol, by its hash")
    return parser
