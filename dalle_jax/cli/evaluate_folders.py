"""`dalle-jax evaluate --fake=DIR --real=DIR`: FID and its kin of any two sets of images."""

import argparse
import sys
from pathlib import Path
from typing import Any

from dalle_jax.cli.counts import count

EXAMPLE = """examples:
  dalle-jax evaluate --fake=samples/ --real=photos/ --metrics=fid,kid,prdc,is \\
      --inception=inception.safetensors --out=results.jsonl
  dalle-jax evaluate --fake=samples.npz --real=fid_stats.npz --metrics=fid --intervals=off \\
      --inception=inception.safetensors
"""


def run(argv: list[str]) -> int:
    """Measure, append the row, print its table."""
    args = parse(argv)
    from dalle_jax.cli.tables import print_row
    from dalle_jax.metrics.distances import Settings
    from dalle_jax.metrics.preprocess import Preprocessing
    from dalle_jax.metrics.results import append_row

    settings = Settings(
        kid_subsets=args.kid_subsets,
        kid_subset_size=args.kid_subset_size,
        is_splits=args.is_splits,
        intervals=args.intervals == "on",
        seed=args.seed,
    )
    preprocessing = Preprocessing(args.preprocess, args.fit, args.round_trip)
    metrics = [name.strip() for name in args.metrics.split(",") if name.strip()]
    row = evaluate_folders(
        args.fake,
        args.real,
        metrics,
        args.inception,
        preprocessing,
        settings,
        features=args.features,
        n=args.n,
        batch_size=args.batch_size,
        statistics_out=args.save_statistics,
    )
    row = {"fake": str(args.fake), **row}
    if args.out:
        append_row(args.out, row)
    print(file=sys.stderr)
    print_row(row)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="dalle-jax evaluate --fake --real",
        description="Measure one set of images against another. A set is a folder, or a .npz or "
        ".npy of uint8 [N, H, W, 3]; the real one may also be statistics, for fid and sfid: those "
        "of --save_statistics, pytorch-fid or guided-diffusion.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fake", required=True, help="the images that are measured")
    parser.add_argument("--real", required=True, help="the images or statistics to measure against")
    parser.add_argument("--metrics", default="fid", help="of fid, sfid, kid, prdc, is, cmmd")
    parser.add_argument("--inception", help="weights, made by `dalle-jax convert inception`")
    parser.add_argument(
        "--features", metavar="RUN", help="a trained classifier or clip in Inception's place"
    )
    parser.add_argument(
        "--preprocess", default="torch-fidelity", help="torch-fidelity, pytorch-fid or clean-fid"
    )
    parser.add_argument("--fit", default="squeeze", help="squeeze or crop what is not square")
    parser.add_argument("--round_trip", default="none", help="none, png or jpeg:QUALITY")
    parser.add_argument("--n", type=count, help="how many fakes there must be; fewer is an error")
    parser.add_argument("--batch_size", type=count, default=64)
    parser.add_argument("--kid_subsets", type=count, default=100)
    parser.add_argument("--kid_subset_size", type=count, default=1000)
    parser.add_argument("--is_splits", type=count, default=10)
    parser.add_argument(
        "--intervals",
        choices=("on", "off"),
        default="on",
        help="off: no errors and no floor, and for fid and sfid a memory that does not grow",
    )
    parser.add_argument("--seed", type=int, default=2020, help="of subsets, shuffles, resampling")
    parser.add_argument("--save_statistics", metavar="FILE.npz", help="of the real images")
    parser.add_argument("--out", help="append the row to this results.jsonl")
    return parser.parse_args(argv)


def evaluate_folders(
    fake: str | Path,
    real: str | Path,
    metrics: list[str],
    inception: str | Path | None,
    preprocessing: Any,
    settings: Any,
    *,
    features: str | Path | None = None,
    n: int | None = None,
    batch_size: int = 64,
    statistics_out: str | Path | None = None,
) -> dict[str, Any]:
    """The row of results of two sets of images, given by their paths.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: a set is empty, torn, or smaller than n or a metric needs.
    """
    from dalle_jax.cli.extractors import open_extractor
    from dalle_jax.metrics.images import Chosen, open_images
    from dalle_jax.metrics.reference import is_statistics, load_reference
    from dalle_jax.metrics.sets import compare_sets

    fakes = open_images(fake)
    reals = load_reference(real) if is_statistics(real) else open_images(real)
    if n is not None and len(fakes) < n:
        raise ValueError(f"{fake} has {len(fakes)} images, fewer than the {n} of the protocol")
    if n is not None:
        fakes = Chosen(fakes, range(n))
    extractor = open_extractor(metrics, inception, features, preprocessing)
    how = {"batch_size": batch_size, "progress": _progress}
    return compare_sets(
        fakes,
        reals,
        extractor,
        metrics,
        settings,
        reference=str(real),
        statistics_out=statistics_out,
        **how,
    )


def _progress(done: int) -> None:
    print(f"\r{done} images", end="", file=sys.stderr, flush=True)
