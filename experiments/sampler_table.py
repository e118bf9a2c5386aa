"""Which sampler at which budget: caption accuracy and Fréchet distance by network evaluations.

    python experiments/sampler_table.py --workdir=runs/shapes --features=runs/features

Each row is a sampler with or without guidance, each column a number of evaluations. All sample the
same captions from the same noise. The share of fully correct captions, with its 95 % interval,
is the oracle's; the distance is on the pooled features of a classifier trained on the data set, to
a reference of other real images, with its jackknife interval, and the same distance of as many real
images (the floor) is printed. Cells that are in the CSV already are not computed again.
"""

import argparse
import csv
import dataclasses
import itertools
import time
from pathlib import Path

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from dalle_jax.metrics import oracle  # noqa: E402
from dalle_jax.metrics.frechet import Factored, factor_features, jackknife  # noqa: E402
from dalle_jax.metrics.intervals import wilson  # noqa: E402
from dalle_jax.pipelines.text_to_image import DallePipeline  # noqa: E402
from dalle_jax.runs import open_run  # noqa: E402

SAMPLERS = ("ddpm", "ddim", "dpmpp_2m", "unipc")  # one evaluation a step, each of them
EVALUATIONS = (5, 6, 8, 10, 15, 20, 50)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One line of the CSV; shares and distances with the ends of their 95 % intervals."""

    sampler: str
    guidance_scale: float
    evaluations: int
    captions: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    distance: float
    distance_low: float
    distance_high: float

    @property
    def name(self) -> tuple:
        """What distinguishes cells."""
        return self.sampler, self.guidance_scale, self.evaluations, self.captions


def load(path: Path) -> list[Cell]:
    """The cells that a CSV holds; none if it is not there."""
    if not path.exists():
        return []
    types = {field.name: field.type for field in dataclasses.fields(Cell)}
    with path.open(newline="") as file:
        return [
            Cell(**{name: types[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def append(path: Path, cell: Cell) -> None:
    """Add a line to the CSV, and its header if it is new."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Cell)])
        if new:
            writer.writeheader()
        writer.writerow(dataclasses.asdict(cell))


def feature_function(directory: Path):
    """uint8 images [N, H, W, 3] -> features float32 [N, D] of a trained classifier."""
    run = open_run(directory / "classifier")
    stage, params = run.build_stage(), run.load_params()
    forward = jax.jit(lambda images: stage.sample(params, {"image": images}, jax.random.key(0)))
    return lambda images: np.concatenate(
        [np.asarray(forward(images[i : i + 256])) for i in range(0, len(images), 256)]
    )


def measure(pipe, captions, features, reference: Factored, settings, seed: int) -> Cell:
    """Draw all captions with these settings and score them."""
    sampler, scale, evaluations = settings
    images = pipe.generate(
        captions,
        sample_index=range(len(captions)),
        seed=seed,
        sampler=sampler,
        guidance_scale=scale,
        num_inference_steps=evaluations,
    )
    n, right = len(captions), int(oracle.score(captions, images).all_right.sum())
    distance = jackknife(features(images), reference)
    return Cell(
        sampler,
        scale,
        evaluations,
        n,
        right / n,
        *wilson(right, n),
        distance.value,
        *distance.interval,
    )


def table(cells: list[Cell]) -> str:
    """Markdown: a line a sampler and guidance, a column a number of evaluations."""
    by_name = {cell.name[:3]: cell for cell in cells}
    scales = sorted({cell.guidance_scale for cell in cells})
    header = ["sampler", "guidance", *(str(n) for n in EVALUATIONS)]
    lines = [header, ["---"] * len(header)]
    for scale, sampler in itertools.product(scales, SAMPLERS):
        row = [sampler, f"{scale:g}"]
        for evaluations in EVALUATIONS:
            cell = by_name.get((sampler, scale, evaluations))
            row.append(
                f"{100 * cell.accuracy:.1f} % · {cell.distance:.2f}" if cell is not None else "–"
            )
        lines.append(row)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/shapes"))
    parser.add_argument("--features", type=Path, default=Path("runs/features"))
    parser.add_argument("--n", type=int, default=512, help="captions")
    parser.add_argument("--reference", type=int, default=2000, help="other real images")
    parser.add_argument("--guidance_scales", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/shapes/sampler_table.csv"))
    args = parser.parse_args()

    pipe, features = DallePipeline.from_pretrained(args.workdir), feature_function(args.features)
    source = pipe.run.open_source("test")
    captions = [source[i]["caption"] for i in range(args.n)]
    reals = np.stack([source[i]["image"] for i in range(args.n + args.reference)])
    of_reals = features(reals)
    reference = factor_features(of_reals[args.n :])
    floor = jackknife(of_reals[: args.n], reference)
    low, high = floor.interval

    cells = {cell.name: cell for cell in load(args.out)}
    for settings in itertools.product(SAMPLERS, args.guidance_scales, EVALUATIONS):
        if (*settings, args.n) in cells:
            continue
        start = time.perf_counter()
        cell = measure(pipe, captions, features, reference, settings, args.seed)
        append(args.out, cell)
        cells[cell.name] = cell
        print(cell, f"{time.perf_counter() - start:.0f} s", flush=True)
    print(table([cell for cell in cells.values() if cell.captions == args.n]))
    print(
        "accuracy of all that a caption says · Fréchet distance on the classifier's features, over "
        f"{args.n} captions; real images have {floor.value:.2f} [{low:.2f}, {high:.2f}]"
    )


if __name__ == "__main__":
    main()
