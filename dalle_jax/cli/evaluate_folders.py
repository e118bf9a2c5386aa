"""`dalle-jax evaluate --fake=DIR --real=DIR`: FID and its kin of any two sets of images."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  dalle-jax evaluate --fake=samples/ --real=photos/ --metrics=fid,kid,prdc,is \\
      --inception=inception.safetensors --out=results.jsonl
  dalle-jax evaluate --fake=samples.npz --real=fid_stats.npz --metrics=fid --intervals=off \\
      --inception=inception.safetensors
"""


def run(argv: list[str]) -> int:
    """Measure, append the row, print its table."""
    args = parse(argv)
    from dalle_jax.metrics.preprocess import Preprocessing
    from dalle_jax.metrics.sets import Settings

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
        n=args.n,
        batch_size=args.batch_size,
        statistics_out=args.save_statistics,
    )
    row = {"fake": str(args.fake), **row}
    if args.out:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        with Path(args.out).open("a") as file:
            file.write(json.dumps(row) + "\n")
    show(row)
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
    parser.add_argument("--metrics", default="fid", help="of fid, sfid, kid, prdc, is")
    parser.add_argument("--inception", help="weights, made by `dalle-jax convert inception`")
    parser.add_argument(
        "--preprocess", default="torch-fidelity", help="torch-fidelity, pytorch-fid or clean-fid"
    )
    parser.add_argument("--fit", default="squeeze", help="squeeze or crop what is not square")
    parser.add_argument("--round_trip", default="none", help="none, png or jpeg:QUALITY")
    parser.add_argument("--n", type=int, help="how many fakes there must be; fewer is an error")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--kid_subsets", type=int, default=100)
    parser.add_argument("--kid_subset_size", type=int, default=1000)
    parser.add_argument("--is_splits", type=int, default=10)
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
    n: int | None = None,
    batch_size: int = 64,
    statistics_out: str | Path | None = None,
) -> dict[str, Any]:
    """The row of results of two sets of images, given by their paths.

    Raises:
        FileNotFoundError: a path leads nowhere.
        ValueError: a set is empty, torn, or smaller than n or a metric needs.
    """
    from dalle_jax.metrics.images import open_images
    from dalle_jax.metrics.reference import is_statistics, load_reference
    from dalle_jax.metrics.sets import compare_sets, taps_of

    taps = taps_of(metrics)
    fakes = open_images(fake)
    reals = load_reference(real) if is_statistics(real) else open_images(real)
    if n is not None and len(fakes) < n:
        raise ValueError(f"{fake} has {len(fakes)} images, fewer than the {n} of the protocol")
    if n is not None:
        fakes = _First(fakes, n)
    if inception is None:
        raise ValueError(
            f"{', '.join(metrics)} need the weights of Inception: give --inception=FILE, made by "
            "`dalle-jax convert inception` from the file that pytorch-fid or torch-fidelity "
            "downloads; nothing is downloaded here"
        )
    from dalle_jax.interop.inception import load
    from dalle_jax.metrics.features import inception_extractor

    weights = load(inception)
    extractor = inception_extractor(weights.params, weights.sha256, preprocessing, taps)
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


class _First:
    """The first n of a sequence."""

    def __init__(self, images, n):
        self._images, self._n = images, n

    def __len__(self):
        return self._n

    def __getitem__(self, index):
        return self._images[index]


def _progress(done: int) -> None:
    print(f"\r{done} images", end="", file=sys.stderr, flush=True)


def show(row: Mapping[str, Any]) -> None:
    """The table of a row."""
    from rich.console import Console
    from rich.table import Table

    protocol, floor = row["protocol"], row.get("floor", {})
    print(file=sys.stderr)
    table = Table(
        title=f"{protocol['num_images']} images against {protocol['reference']}, "
        f"{protocol['features']} {protocol['features_sha256'][:12]}, "
        f"protocol {row['protocol_hash']}"
    )
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    if floor:
        table.add_column(f"real against real, n = {floor['num_images']}", justify="right")
    for name, found in row["metrics"].items():
        interval = "{:.4f} – {:.4f}".format(*found["interval"]) if "interval" in found else ""
        cells = [name, f"{found['value']:.4f}", interval]
        if floor:
            cells.append(f"{floor[name]:.4f}" if name in floor else "")
        table.add_row(*cells)
    Console().print(table)
