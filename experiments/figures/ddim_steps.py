"""DDIM, table 1: the fewer the steps, the more the noise of a sampler costs.

Song et al. 2021 (2010.02502). One trained decoder, unguided; η = 0 is DDIM, η = 1 DDPM with the
smaller variance, σ̂ DDPM with the larger one. Distances are on a classifier's features, from the
real images of the same captions; all points sample the same captions from the same noise.
"""

import matplotlib.pyplot as plt

from dalle_jax.figures.figure import Claim, Figure
from dalle_jax.figures.plots import mark, plot_series
from dalle_jax.figures.rows import difference, find, num_images, series
from dalle_jax.sweeps.grid import Sweep, chain, product, zip_

# Config, captions measured on, numbers of steps.
SCALES = {
    "tiny": ("quickstart", 512, (5, 10, 20)),
    "small": ("shapes", 2048, (5, 10, 20, 50, 100)),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
NOISES = {  # label: settings of sampling
    **{f"η = {eta:g}": {"sampler": "ddim", "eta": eta} for eta in (0.0, 0.2, 0.5, 1.0)},
    "σ̂": {"sampler": "ddpm", "variance": "fixed_large"},
}
PUBLISHED_STEPS = (10, 20, 50, 100, 1000)
PUBLISHED = {  # FID on CIFAR-10
    "η = 0": (13.36, 6.84, 4.67, 4.16, 4.04),
    "η = 0.2": (14.04, 7.11, 4.77, 4.25, 4.09),
    "η = 0.5": (16.66, 8.35, 5.25, 4.46, 4.29),
    "η = 1": (41.07, 18.36, 8.01, 5.78, 4.73),
    "σ̂": (367.43, 133.37, 32.72, 9.99, 3.17),
}


def draw(rows, images):
    """Distance and captions by steps here, and as published."""
    figure, (far, right, there) = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for apart, (noise, settings) in zip((0.95, 0.975, 1.0, 1.025, 1.05), NOISES.items()):
        for axes, metric, unit in ((far, "FD", 1), (right, "oracle/caption", 100)):
            found = series(rows, metric, "num_inference_steps", **settings)
            plot_series(axes, {apart * at: row for at, row in found.items()}, unit, label=noise)
        there.plot(PUBLISHED_STEPS, PUBLISHED[noise], marker="o", label=noise)
    for axes in (far, right):
        mark(axes, sorted({row["num_inference_steps"] for row in rows}), "steps")
    mark(there, PUBLISHED_STEPS, "steps")
    here = f"here, {num_images(rows)} captions"
    far.set(title=here, ylabel="Fréchet distance, classifier's features")
    right.set(title=here, ylabel="fully correct captions / %")
    there.set(title="published: CIFAR-10", ylabel="FID", yscale="log")
    there.legend(frameon=False)
    return figure


def claims(rows):
    """At the fewest steps; what many steps do is another matter."""
    fewest = min((row["num_inference_steps"] for row in rows), default=float("nan"))
    at = lambda noise, metric: find(rows, metric, num_inference_steps=fewest, **NOISES[noise])
    found = []
    for noise in ("η = 1", "σ̂"):
        figures = PUBLISHED[noise][0], PUBLISHED["η = 0"][0]
        found += [
            Claim(
                f"At {fewest} steps {noise} is further from real images than η = 0.",
                difference(at("η = 0", "FD"), at(noise, "FD")),
                above=0,
                unit="of Fréchet distance more",
                published="FID {} against {} at 10 steps, CIFAR-10".format(*figures),
            ),
            Claim(
                f"At {fewest} steps {noise} gets fewer captions right than η = 0.",
                difference(at(noise, "oracle/caption"), at("η = 0", "oracle/caption")),
                above=0,
                unit="of all captions fewer",
            ),
        ]
    return found


def get_figure(scale: str) -> Figure:
    """Noise × steps of one decoder."""
    config, captions, steps = SCALES[scale]
    noises = [{f"decoder.sample.{k}": [v] for k, v in n.items()}.items() for n in NOISES.values()]
    points = product(
        chain(*(zip_(*noise) for noise in noises)),
        ("decoder.sample.num_inference_steps", steps),
        ("decoder.sample.guidance_scale", [1.0]),
    )
    evaluation = {"n": captions, "metrics": "oracle,fid,kid"}
    sweep = Sweep(config=f"configs/{config}.py", points=points, evaluation=evaluation)
    return Figure(draw, claims, sweep=sweep, features="configs/features.py")
