"""GLIDE, figure 6, its classifier-free half: guidance buys what the caption says for realism.

Nichol et al. 2021 (2112.10741). One trained decoder over scales of classifier-free guidance.
Instead of CLIP's score, the oracle counts the captions that are fully correct, which no network can
be guided to please; distances are on a classifier's features, from the real images of the same
captions. The other half, CLIP guidance, is in clip_guidance.py.
"""

import matplotlib.pyplot as plt

from dalle_jax.figures.figure import Claim, Figure
from dalle_jax.figures.fronts import plot_front
from dalle_jax.figures.plots import mark, plot_series
from dalle_jax.figures.rows import difference, num_images, series
from dalle_jax.sweeps.grid import Sweep, product

# Config, captions measured on, guidance scales.
SCALES = {
    "tiny": ("quickstart", 512, (1.0, 2.0, 3.0, 5.0, 8.0)),
    "small": ("shapes", 2048, (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
NONE, SOME = 1.0, 3.0
STEPS = 10
SCORE_LABEL = "fully correct captions / %"
DISTANCE_LABEL = "Fréchet distance, classifier's features"


def draw(rows, images):
    """One against the other, and both by scale."""
    figure, (both, by_scale) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    scores, distances = (series(rows, m, "guidance_scale") for m in ("oracle/caption", "FD"))
    whole = [{at: of[at] for at in scores if at in distances} for of in (scores, distances)]
    plot_front(both, *whole, (100, 1), color="C2")
    both.set(
        xlabel=SCORE_LABEL,
        ylabel=DISTANCE_LABEL,
        title=f"here, {num_images(rows)} captions, by scale",
    )
    both.margins(0.12)
    right = by_scale.twinx()
    plot_series(by_scale, scores, unit=100, color="C0")
    plot_series(right, distances, color="C1")
    mark(by_scale, list(scores), "guidance scale")
    by_scale.set_ylabel(SCORE_LABEL, color="C0")
    right.set_ylabel(DISTANCE_LABEL, color="C1")
    return figure


def claims(rows):
    """What a usual scale gives, and what the largest costs."""
    scores, distances = (series(rows, m, "guidance_scale") for m in ("oracle/caption", "FD"))
    largest = max((row["guidance_scale"] for row in rows), default=float("nan"))
    return [
        Claim(
            f"Guidance of {SOME:g} gets more captions right than none.",
            difference(scores.get(NONE), scores.get(SOME)),
            above=0,
            unit="of all captions more",
            published="people prefer scale 3 for the caption: Elo 110.9 against −106.2 (table 1)",
        ),
        Claim(
            f"Guidance of {largest:g} gets still more captions right than {SOME:g}.",
            difference(scores.get(SOME), scores.get(largest)),
            above=0,
            unit="of all captions more",
            published="in curves: the front goes on, CLIP's score rises as FID gets worse",
        ),
        Claim(
            f"Guidance of {largest:g} is further from real images than {SOME:g}.",
            difference(distances.get(SOME), distances.get(largest)),
            above=0,
            unit="of Fréchet distance more",
            published="FID on COCO is given at scale 1.5 (12.24, table 2)",
        ),
    ]


def get_figure(scale: str) -> Figure:
    """Guidance of one decoder."""
    config, captions, scales = SCALES[scale]
    points = product(
        ("decoder.sample.guidance_scale", scales),
        ("decoder.sample.num_inference_steps", [STEPS]),
        ("decoder.sample.sampler", ["unipc"]),
    )
    evaluation = {"n": captions, "metrics": "oracle,fid,kid"}
    sweep = Sweep(config=f"configs/{config}.py", points=points, evaluation=evaluation)
    return Figure(draw, claims, sweep=sweep, features="configs/features.py")
