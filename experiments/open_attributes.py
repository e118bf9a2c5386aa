"""What a model draws where captions leave the size or the color open.

    python experiments/open_attributes.py --workdir=runs/quickstart

For each of some captions with one attribute or two left out, images of one object are drawn with
different noise. Printed are the oracle's readings: how often the attributes that are stated are
right, and for those left open each value's share and the entropy of the shares relative to that of
a uniform choice: 100 % is any value alike, 0 % always the same.
"""

import argparse
from collections import Counter
from collections.abc import Sequence

from dalle_jax import cpu

cpu.configure()

import numpy as np  # noqa: E402

from dalle_jax.data.shapes.scene import COLORS, SIZES  # noqa: E402
from dalle_jax.metrics.oracle import check, parse, read_scene  # noqa: E402
from dalle_jax.pipelines.text_to_image import DallePipeline  # noqa: E402

CAPTIONS = ("a red circle", "a blue star", "a large ring", "a small square", "a heart", "a cross")
VALUES = {"size": tuple(SIZES), "color": tuple(COLORS)}


def evenness(counts: Sequence[int]) -> float:
    """Entropy of the shares over ln(number of values), 0 to 1."""
    shares = np.array([count for count in counts if count]) / sum(counts)
    return abs(float((shares * np.log(shares)).sum() / np.log(len(counts))))


def main() -> None:
    """Print one row for each caption and open attribute."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", default="runs/quickstart")
    parser.add_argument("--n", type=int, default=64, help="images of each caption")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pipe = DallePipeline.from_pretrained(args.workdir)
    print("| caption | stated right | left open | evenness | values |")
    print("|---|---|---|---|---|")
    for caption in CAPTIONS:
        images = pipe([caption], num_images_per_prompt=args.n, seed=args.seed).images
        readings = [read_scene(np.asarray(image)) for image in images]
        right = np.mean([right for reading in readings for right in check(caption, reading)])
        objects = [reading.objects[0] for reading in readings if reading.objects]
        stated = {statement.kind for statement in parse(caption)}
        for kind in (kind for kind in VALUES if kind not in stated):
            found = Counter(getattr(o, kind) for o in objects)
            counts = [found[value] for value in VALUES[kind]]
            values = ", ".join(f"{value} {n}" for value, n in zip(VALUES[kind], counts) if n)
            print(f"| {caption} | {right:.1%} | {kind} | {evenness(counts):.0%} | {values} |")


if __name__ == "__main__":
    main()
