"""`dalle-jax evaluate`: score a trained workdir on held-out captions, and show what it drew."""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLE = """example:
  dalle-jax evaluate --workdir=runs/quickstart --split=test --n=512
"""
SHOWN = 24  # images in samples.png


def run(argv: list[str]) -> int:
    """Generate, score, print the table; a row that is there already is printed as it stands."""
    if any(option.partition("=")[0] == "--fake" for option in argv):
        from dalle_jax.cli import evaluate_folders

        return evaluate_folders.run(argv)
    parser = argparse.ArgumentParser(
        prog="dalle-jax evaluate",
        description="Score a trained workdir on held-out captions of captioned_shapes: which of "
        "their statements the images bear out, with 95 % Wilson intervals. Writes results.jsonl "
        "and a picture into the workdir.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--split", default="test", help="test or test_novel")
    parser.add_argument("--n", type=int, default=512, help="captions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_inference_steps", type=int)
    parser.add_argument("--guidance_scale", type=float)
    parser.add_argument("--sampler")
    args = parser.parse_args(argv)
    settings = {
        name: value
        for name in ("num_inference_steps", "guidance_scale", "sampler")
        if (value := getattr(args, name)) is not None
    }
    evaluate(Path(args.workdir), args.split, args.n, args.seed, settings)
    return 0


def evaluate(
    workdir: Path, split: str, n: int, seed: int, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of results.jsonl for these settings, made if it is not there; prints its table."""
    from dalle_jax.runs import open_run

    checkpoint = open_run(workdir / "decoder")
    data = checkpoint.config["data"]
    protocol = {
        "metric": "oracle",
        "checkpoint": checkpoint.fingerprint,
        "step": checkpoint.step,
        "weights": "ema",
        "source": data["source"],
        "captions": data["captions"],
        "split": split,
        "n": n,
        "seed": seed,
        **checkpoint.config["decoder"]["sample"],
        **settings,
    }
    digest = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:12]
    results = workdir / "results.jsonl"
    rows = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )
    picture = workdir / ("samples.png" if split == "test" else f"samples_{split}.png")
    row = next((row for row in rows if row["protocol_hash"] == digest), None)
    if row is None or not picture.exists():
        captions, images = generate(workdir, split, n, seed, settings)
        row = {"protocol": protocol, "protocol_hash": digest, **score(captions, images)}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        draw(picture, captions, images)
    show(row, picture)
    return row


def generate(
    workdir: Path, split: str, n: int, seed: int, settings: Mapping[str, Any]
) -> tuple[list[str], np.ndarray]:
    """The first n captions of a split and an image of each, uint8 [n, H, W, 3]."""
    from dalle_jax.pipelines.text_to_image import DallePipeline

    pipe = DallePipeline.from_pretrained(workdir)
    source = pipe.run.open_source(split)
    if len(source) < n:
        raise ValueError(
            f"split {split!r} has {len(source)} captions, fewer than the {n} asked for"
        )
    captions = [source[i]["caption"] for i in range(n)]
    print(f"drawing {n} images of held-out captions …", flush=True)
    return captions, pipe.generate(captions, sample_index=range(n), seed=seed, **settings)


def score(captions: Sequence[str], images: np.ndarray) -> dict[str, Any]:
    """Share of right statements by kind, and of captions that are right in all they say."""
    from dalle_jax.metrics import oracle
    from dalle_jax.metrics.intervals import wilson

    scored = oracle.score(captions, images)
    counts = dict(scored.statements)
    counts["each object"] = scored.objects
    counts["whole caption"] = (int(scored.all_right.sum()), len(captions))
    return {
        "accuracy": {
            kind: {"right": right, "of": of, "share": right / of, "interval": wilson(right, of)}
            for kind, (right, of) in counts.items()
        }
    }


def draw(path: Path, captions: Sequence[str], images: np.ndarray) -> None:
    """A grid of the first captions, written green where all they state is right, else red."""
    from dalle_jax.metrics import oracle
    from dalle_jax.pipelines.images import captioned_grid

    captions, images = captions[:SHOWN], images[:SHOWN]
    right = oracle.score(captions, images).all_right
    colors = ["#1a7f37" if all_right else "#b42318" for all_right in right]
    captioned_grid(images, captions, columns=8, colors=colors).save(path)


def show(row: Mapping[str, Any], picture: Path) -> None:
    """The table of a row."""
    from rich.console import Console
    from rich.table import Table

    protocol = row["protocol"]
    table = Table(
        title=f"caption accuracy on {protocol['source']} {protocol['split']}, "
        f"{protocol['n']} captions, protocol {row['protocol_hash']}"
    )
    table.add_column("what the caption states")
    table.add_column("right", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("of", justify="right")
    for kind, value in row["accuracy"].items():
        low, high = value["interval"]
        share, interval = f"{100 * value['share']:.1f} %", f"{100 * low:.1f} – {100 * high:.1f}"
        table.add_row(kind, share, interval, str(value["of"]))
    Console().print(table)
    print(f"pictures: {picture}")
