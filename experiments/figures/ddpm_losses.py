"""DDPM, table 2: predicting the noise, with the simple loss and a fixed variance, draws best.

Ho et al. 2020 (2006.11239). Short trainings of one decoder of CLIP's image embeddings in a chain of
1,000 steps, drawn from the embeddings of held-out images. In the place of the mean μ̃ stands x_0,
which tells it, with the simple loss's weights on x_0 and on ε; a learned variance is trained by
Improved DDPM's hybrid loss, since the bound alone, as in the paper, is no loss of this project.
"""

import matplotlib.pyplot as plt

from dalle_jax.cli.figure_unclip import SEED, open_chain
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_axes import plot_series
from dalle_jax.sweeps.figure_measures import factored, judged_rows
from dalle_jax.sweeps.figure_rows import difference, find, num_images
from dalle_jax.sweeps.grid import Sweep, product, zip_

# Config, steps of training, images drawn.
SCALES = {"tiny": ("unclip_shapes", 800, 256), "small": ("unclip_shapes", 10_000, 2048)}
PAPER = ("clip", "decoder")  # of configs/dalle2
LOSSES = {"ε": ("eps", "simple"), "x₀": ("x0", "simple"), "x₀, weighed as ε": ("x0", "snr")}
VARIANCES = {"fixed": False, "learned": True}
SAMPLER = {"sampler": "ddpm", "num_inference_steps": 50, "guidance_scale": 1.0}


def measure(workdir, num_captions, extractor) -> Measured:
    """What one decoder draws from the embeddings of real images."""
    chain = open_chain(workdir, num_captions)
    own = chain.pipe.run.config["decoder"]
    loss = {of: name for name, of in LOSSES.items()}[
        own["loss"]["target"], own["loss"]["weighting"]
    ]
    variance = "learned" if own["diffusion"]["learned_variance"] else "fixed"
    drawn_with = {"fixed": "fixed_small", "learned": "learned"}[variance]
    z = chain.of_images(chain.images)
    images = chain.draw(z, chain.captions, variance=drawn_with, **SAMPLER)
    where = {"loss": loss, "variance": variance}
    reals = factored(chain.images, extractor)
    return Measured(judged_rows(chain.captions, images, reals, extractor, **where), seed=SEED)


def draw(rows, images):
    """Distance and captions by what is learned."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    labels = {"FD": "Fréchet distance, classifier's features"}
    labels["oracle/caption"] = f"borne out in full / % of {num_images(rows)} captions"
    for axes, (metric, label) in zip(panels, labels.items()):
        unit = 1 if metric == "FD" else 100
        for shift, variance in ((-0.1, "fixed"), (0.1, "learned")):
            found = [find(rows, metric, loss=loss, variance=variance) for loss in LOSSES]
            known = {i + shift: row for i, row in enumerate(found) if row is not None}
            plot_series(axes, known, unit, linestyle="none", label=f"{variance} variance")
        axes.set_xticks(range(len(LOSSES)), LOSSES)
        axes.set(xlabel="what is predicted", ylabel=label)
    panels[0].legend(frameon=False)
    return figure


def claims(rows):
    """The paper's choice against the others."""
    at = lambda loss, variance: find(rows, "FD", loss=loss, variance=variance)
    others = {
        ("x₀", "fixed"): "FID 3.17 against 13.22, where μ̃ is predicted, by the bound",
        ("x₀, weighed as ε", "fixed"): "",
        ("ε", "learned"): "the bound with a learned variance is unstable",
    }
    return [
        Claim(
            f"Predicting ε with a fixed variance is nearer to real images than {loss}, {variance}.",
            difference(at("ε", "fixed"), at(loss, variance)),
            above=0,
            unit="of Fréchet distance nearer",
            published=published,
        )
        for (loss, variance), published in others.items()
    ]


def get_figure(scale: str) -> Figure:
    """Target × weighting × variance."""
    config, steps, num_captions = SCALES[scale]
    targets, weightings = zip(*LOSSES.values())
    losses = zip_(("decoder.loss.target", targets), ("decoder.loss.weighting", weightings))
    sweep = Sweep(
        config=f"configs/{config}.py",
        points=product(losses, ("decoder.diffusion.learned_variance", VARIANCES.values())),
        stages=("clip", "decoder"),
        overrides={
            "decoder.train.steps": steps,
            "decoder.diffusion.num_timesteps": 1000,
            "decoder.loss.log_normal_times": (),
        },
        evaluation=None,
    )
    how = {"features": "configs/features.py", "num_captions": num_captions}
    return Figure(draw, claims, sweep=sweep, measure=measure, **how)
