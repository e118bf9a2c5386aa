"""unCLIP, figure 8 and §5.1: a prior's embedding gives better images than the caption's own.

Ramesh et al. 2022 (2204.06125). One trained decoder, given the same captions and noise and, as the
image's embedding, nothing, CLIP's embedding of the caption, the prior's, and, as what a perfect
prior could give at most, that of the caption's real image. Distances are on a classifier's
features, from the real images of the same captions.
"""

import numpy as np

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import factored, judged_rows, shown_rows
from dalle_jax.figures.plots import METRIC_LABELS, panels, plot_named, show_strip, strip
from dalle_jax.figures.rows import BY_CAPTION, difference, find, num_images, select
from dalle_jax.figures.unclip import SEED, open_chain
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("unclip_shapes", 512), "small": ("unclip_shapes", 2048)}  # config, captions
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
SOURCES = {  # label: how a chain makes the embeddings of its captions
    "none": lambda chain: None,
    "caption's": lambda chain: chain.of_captions(chain.captions),
    "prior's": lambda chain: chain.of_prior(),
    "real image's": lambda chain: chain.of_images(chain.images),
}
COLUMNS = 8  # of the pictures


def measure(workdir, num_captions, extractor) -> Measured:
    """Captions and distance by source of the embedding, and the first captions' pictures."""
    chain = open_chain(workdir, num_captions)
    reals, rows, shown = factored(chain.images, extractor), [], []
    for source, embeddings_of in SOURCES.items():
        images = chain.draw(embeddings_of(chain), chain.captions)
        judged = judged_rows(chain.captions, images, reals, extractor, embedding=source)
        rows += judged
        scores = judged[0][BY_CAPTION].mean(1)
        rows += shown_rows(chain.captions[:COLUMNS], scores, embedding=source)
        shown.append(images[:COLUMNS])
    return Measured(rows, {"drawn": strip(np.stack(shown))}, SEED)


def draw(rows, images):
    """Pictures, a row a source, beside what is measured of them."""
    figure, (panel, *judged) = panels(2.3, 1, 1, size=(13, 4.6))
    captions = [row["caption"] for row in select(rows, "shown", embedding="none")]
    show_strip(panel, images["drawn"], captions, list(SOURCES))
    panel.tick_params(axis="x", labelsize=8)
    panel.set(xlabel="caption of the column", ylabel="image embedding")
    for axes, (metric, (unit, label)) in zip(judged, METRIC_LABELS.items()):
        found = {source: find(rows, metric, embedding=source) for source in SOURCES}
        plot_named(axes, found, unit)
        axes.set(ylabel=label, xlabel="image embedding", title=f"{num_images(rows)} captions")
    return figure


def claims(rows):
    """The prior against what does without one."""
    at = lambda source, metric: find(rows, metric, embedding=source)
    paper = "FID 16.55 with the caption's embedding, 7.99 with a prior's (§5.1)"
    others = {  # source: in a sentence, published
        "caption's": ("the caption's own embedding", paper),
        "none": ("no embedding", "in pictures (figure 8)"),
    }
    found = []
    for source, (name, published) in others.items():
        found += [
            Claim(
                f"The prior's embedding draws images nearer to real ones than {name}.",
                difference(at("prior's", "FD"), at(source, "FD")),
                above=0,
                unit="of Fréchet distance nearer",
                published=published,
            ),
            Claim(
                f"The prior's embedding gets more captions right than {name}.",
                difference(at(source, "oracle/caption"), at("prior's", "oracle/caption")),
                above=0,
                unit="of all captions more",
            ),
        ]
    return found


def get_figure(scale: str) -> Figure:
    """One system, not its upsampler."""
    config, num_captions = SCALES[scale]
    stages = ("clip", "prior", "decoder")
    sweep = Sweep(f"configs/{config}.py", [{}], stages, evaluation=None)
    return Figure(draw, claims, sweep, measure, "configs/features.py", num_captions)
