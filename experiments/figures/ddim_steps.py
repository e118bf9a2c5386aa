"""DDIM, table 1: the fewer the steps, the more the noise of a sampler costs.

Song et al. 2021 (2010.02502). One trained decoder, unguided; η = 0 is DDIM, η = 1 DDPM with the
smaller variance, σ̂ DDPM with the larger one. Distances are on a classifier's features, from the
real images of the same captions; all points draw the same captions from the same noise.
"""

import matplotlib.pyplot as plt

from dalle_jax.sweeps.figure import Claim, Figure
from dalle_jax.sweeps.figure_axes import mark, plot_series
from dalle_jax.sweeps.figure_rows import difference, find, series
from dalle_jax.sweeps.grid import Sweep, chain, product, zip_

# Config, captions measured on, numbers of steps.
SCALES = {
    "tiny": ("quickstart", 64, (5, 10, 20)),
    "small": ("shapes", 2048, (5, 10, 20, 50, 100)),
}
NOISES = {  # label: knobs of sampling
    "η = 0": {"sampler": "ddim", "eta": 0.0},
    "η = 1": {"sampler": "ddim", "eta": 1.0},
    "σ̂": {"sampler": "ddpm", "variance": "fixed_large"},
}
PUBLISHED_STEPS = (10, 20, 50, 100, 1000)
PUBLISHED = {  # FID on CIFAR-10
    "η = 0": (13.36, 6.84, 4.67, 4.16, 4.04),
    "η = 1": (41.07, 18.36, 8.01, 5.78, 4.73),
    "σ̂": (367.43, 133.37, 32.72, 9.99, 3.17),
}


def draw(rows, images):
    """Distance by steps here, and as published."""
    figure, (here, there) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    found = {noise: series(rows, "FD", "num_inference_steps", **NOISES[noise]) for noise in NOISES}
    for noise, of_noise in found.items():
        plot_series(here, of_noise, label=noise)
        there.plot(PUBLISHED_STEPS, PUBLISHED[noise], marker="o", label=noise)
    here.set(title="here", ylabel="Fréchet distance, classifier's features", yscale="log")
    there.set(title="published: CIFAR-10", ylabel="FID", yscale="log")
    mark(here, sorted({n for of_noise in found.values() for n in of_noise}), "steps")
    mark(there, PUBLISHED_STEPS, "steps")
    here.legend(frameon=False)
    return figure


def claims(rows):
    """At the fewest steps; what many steps do is another matter."""
    fewest = min(row["num_inference_steps"] for row in rows)
    a, *others = (find(rows, "FD", num_inference_steps=fewest, **k) for k in NOISES.values())
    of_a, *of_others = (values[0] for values in PUBLISHED.values())
    return [
        Claim(
            f"At {fewest} steps {noise} is further from real images than η = 0.",
            difference(a, b),
            above=0,
            unit="of Fréchet distance more",
            published=f"FID {of_b} against {of_a} at 10 steps, CIFAR-10",
        )
        for noise, b, of_b in zip(list(NOISES)[1:], others, of_others)
    ]


def get_figure(scale: str) -> Figure:
    """Noise × steps of one decoder."""
    config, captions, steps = SCALES[scale]
    knobs = [{f"decoder.sample.{k}": [v] for k, v in n.items()}.items() for n in NOISES.values()]
    points = product(
        chain(*(zip_(*noise) for noise in knobs)),
        ("decoder.sample.num_inference_steps", steps),
        ("decoder.sample.guidance_scale", [1.0]),
    )
    evaluation = {"n": captions, "metrics": "oracle,fid,kid"}
    sweep = Sweep(config=f"configs/{config}.py", points=points, evaluation=evaluation)
    return Figure(draw, claims, sweep=sweep, features="configs/features.py")
