"""UniPC, quality by evaluations: it needs fewer of them than DDIM and DPM-Solver++.

Zhao et al. 2023 (2302.04867); published numbers by Zheng et al. 2023 (2310.13268), who measured all
three alike. One trained decoder, with and without guidance; each solver asks the network once a
step. Distances are on a classifier's features, from the real images of the same captions; all
points draw the same captions from the same noise.
"""

from dalle_jax.figures.figure import Claim, Figure
from dalle_jax.figures.plots import METRIC_LABELS, mark, panels, plot_series
from dalle_jax.figures.rows import difference, num_images, series
from dalle_jax.sweeps.grid import Sweep, product

# Config, captions measured on, evaluations of the network.
SCALES = {
    "tiny": ("quickstart", 512, (5, 6, 8, 10)),
    "small": ("shapes", 2048, (5, 6, 8, 10, 15, 20)),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
SAMPLERS = {"ddim": "DDIM", "dpmpp_2m": "DPM-Solver++ 2M", "unipc": "UniPC-2"}
GUIDANCE = {1.0: "unguided", 3.0: "guidance 3"}
PUBLISHED_AT = (5, 6, 8, 10, 15, 20)
PUBLISHED = {  # FID on CIFAR-10, unguided; DPM-Solver++ and UniPC of order 3
    "ddim": (54.56, 41.92, 27.51, 20.11, 12.05, 9.00),
    "dpmpp_2m": (28.53, 13.48, 5.34, 4.01, 3.32, 2.90),
    "unipc": (23.71, 10.41, 5.16, 3.93, 3.05, 2.73),
}
PUBLISHED_CLAIMS = {
    ("ddim", 1.0): "FID 23.71 against 54.56 at 5, CIFAR-10",
    ("dpmpp_2m", 1.0): "FID 23.71 against 28.53 at 5, CIFAR-10, both of order 3",
    ("dpmpp_2m", 3.0): "at scale 7.5 worse: 0.65 against 0.60 of latent error, Stable Diffusion",
}


def curve(rows, sampler, guidance):
    """Distances of a sampler by number of evaluations."""
    settings = {"sampler": sampler, "guidance_scale": guidance}
    return series(rows, "FD", "num_inference_steps", **settings)


def draw(rows, images):
    """Distance by evaluations: unguided, guided, and as published."""
    figure, (*here, there) = panels(1, 1, 1)
    counts = sorted({row["num_inference_steps"] for row in rows})
    for axes, (guidance, label) in zip(here, GUIDANCE.items()):
        for apart, (sampler, name) in zip((0.98, 1.0, 1.02), SAMPLERS.items()):
            found = curve(rows, sampler, guidance)
            plot_series(axes, {apart * count: row for count, row in found.items()}, label=name)
        axes.set(title=f"here, {label}, {num_images(rows)} captions", ylabel=METRIC_LABELS["FD"][1])
        mark(axes, counts, "evaluations of the network")
    for sampler, values in PUBLISHED.items():
        there.plot(PUBLISHED_AT, values, marker="o", label=SAMPLERS[sampler])
    there.set(title="published: CIFAR-10, order 3", ylabel="FID", yscale="log")
    there.set_yticks([3, 5, 10, 20, 50], ["3", "5", "10", "20", "50"])
    there.yaxis.minorticks_off()
    mark(there, PUBLISHED_AT, "evaluations of the network")
    there.legend(frameon=False)
    return figure


def claims(rows):
    """Against both others at the fewest evaluations."""
    fewest = min((row["num_inference_steps"] for row in rows), default=float("nan"))
    found = []
    for other in ("ddim", "dpmpp_2m"):
        for guidance, how in GUIDANCE.items():
            a, b = (curve(rows, name, guidance).get(fewest) for name in ("unipc", other))
            found.append(
                Claim(
                    f"With {fewest} evaluations UniPC is nearer to real images than "
                    f"{SAMPLERS[other]} ({how}).",
                    difference(a, b),
                    above=0,
                    unit="of Fréchet distance less",
                    published=PUBLISHED_CLAIMS.get((other, guidance), ""),
                )
            )
    return found


def get_figure(scale: str) -> Figure:
    """Sampler × evaluations × guidance of one decoder."""
    config, captions, evaluations = SCALES[scale]
    points = product(
        ("decoder.sample.guidance_scale", GUIDANCE),
        ("decoder.sample.num_inference_steps", evaluations),
        ("decoder.sample.sampler", SAMPLERS),
    )
    evaluation = {"n": captions, "metrics": "oracle,fid,kid"}
    sweep = Sweep(config=f"configs/{config}.py", points=points, evaluation=evaluation)
    return Figure(draw, claims, sweep=sweep, features="configs/features.py")
