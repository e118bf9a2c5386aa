"""How long a folder of captioned images takes to open for the second time, of two trees in turns.

    python experiments/folder_opening.py --trees=../older,. --images=100000

The folder holds PNG files of 4 × 4 pixels, a thousand a sub-folder, with their captions in one
`metadata.jsonl` or in a `.txt` beside each. Each tree opens it once, untimed, with a cache of its
own; then the trees take turns, each opening in a process of its own. The figures are medians.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

KINDS = ("metadata.jsonl", ".txt")
OPEN = """
import json, sys, time, warnings
from dalle_jax.data.open import open_source
warnings.simplefilter("ignore")
wall, cpu = time.perf_counter(), time.process_time()
source = open_source(
    "folder:" + sys.argv[1], data_dir="", split="train", image_size=4, cache_dir=sys.argv[2]
)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, len(source)]))
"""


def main() -> None:
    """Make the folders, open them in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trees", default=".", help="folders of checkouts; the first is the base")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    trees = [str(Path(tree).resolve()) for tree in args.trees.split(",")]
    names = [Path(tree).name for tree in trees]
    print(f"| captions in | seconds | {' | '.join(names)} | ratio |\n|{'---|' * (len(trees) + 3)}")
    with tempfile.TemporaryDirectory() as place:
        for number, kind in enumerate(KINDS):
            folder = Path(place, str(number))
            make_folder(folder, kind, args.images)
            caches = [f"{place}/cache-{number}-{i}" for i in range(len(trees))]
            both = list(zip(trees, caches))
            first = [opening(tree, folder, cache) for tree, cache in both]
            if len({items for _, _, items in first}) > 1:
                sys.exit(f"the trees read different numbers of items: {first}")
            rounds = [
                [opening(tree, folder, cache) for tree, cache in both] for _ in range(args.rounds)
            ]
            for column, seconds in enumerate(("by the clock", "of CPU")):
                medians = [statistics.median(t[column] for t in turns) for turns in zip(*rounds)]
                cells = [f"{median:.2f}" for median in medians]
                ratio = f"{medians[0] / medians[-1]:.1f} ×"
                print(f"| {' | '.join([kind, seconds, *cells, ratio])} |", flush=True)


def make_folder(folder: Path, kind: str, count: int) -> None:
    """`count` small images, no two of them the same, and their captions."""
    lines = []
    for i in range(count):
        directory = folder / f"{i // 1000:03d}"
        directory.mkdir(parents=True, exist_ok=True)
        encoded = io.BytesIO()
        Image.new("RGB", (4, 4), (i & 255, i >> 8 & 255, i >> 16)).save(encoded, "PNG")
        (directory / f"{i:06d}.png").write_bytes(encoded.getvalue())
        caption = f"number {i}, a red card on a wooden table, seen from above"
        if kind == ".txt":
            (directory / f"{i:06d}.txt").write_text(caption + "\n")
        else:
            name = f"{i // 1000:03d}/{i:06d}.png"
            lines.append(json.dumps({"file_name": name, "text": caption}) + "\n")
    if lines:
        (folder / kind).write_text("".join(lines))


def opening(tree: str, folder: Path, cache: str) -> tuple[float, float, int]:
    """Seconds by the clock and of CPU, and the number of items, of one opening by a tree."""
    run = subprocess.run(
        [sys.executable, "-c", OPEN, str(folder), cache],
        env={**os.environ, "PYTHONPATH": tree, "JAX_PLATFORMS": "cpu"},
        cwd=tree,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return tuple(json.loads(run.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
