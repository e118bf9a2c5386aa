"""unCLIP, figure 8 and §5.1: a prior's embedding draws better images than the caption's own.

Ramesh et al. 2022 (2204.06125). One trained decoder, given the same captions and noise and, as the
image's embedding, nothing, CLIP's embedding of the caption, the prior's, and, as what a perfect
prior could give at most, that of the caption's real image. Distances are on a classifier's
features, from the real images of the same captions.
"""

import matplotlib.pyplot as plt
import numpy as np

from dalle_jax.cli.figure_unclip import SEED, open_chain
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_axes import plot_series, strip
from dalle_jax.sweeps.figure_measures import factored, judged_rows
from dalle_jax.sweeps.figure_rows import difference, find, num_images
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
        rows += judged_rows(chain.captions, images, reals, extractor, embedding=source)
        shown.append(images[:COLUMNS])
    return Measured(rows, {"drawn": strip(np.stack(shown))}, SEED)


def draw(rows, images):
    """Pictures, a row a source, beside what is measured of them."""
    figure, (panel, right, far) = plt.subplots(
        1, 3, figsize=(12, 3.6), layout="constrained", width_ratios=(2, 1, 1)
    )
    panel.imshow(images["drawn"], interpolation="nearest")
    side = images["drawn"].shape[0] / len(SOURCES)
    panel.set_yticks(side * (np.arange(len(SOURCES)) + 0.5), SOURCES)
    panel.set(xticks=[], ylabel="image embedding", title=f"the first {COLUMNS} captions")
    labels = (
        (right, "oracle/caption", 100, f"borne out in full / % of {num_images(rows)} captions"),
        (far, "FD", 1, "Fréchet distance, classifier's features"),
    )
    for axes, metric, unit, label in labels:
        found = {source: find(rows, metric, embedding=source) for source in SOURCES}
        plot_series(axes, found, unit, linestyle="none")
        axes.set(ylabel=label, xlabel="image embedding")
        axes.tick_params(axis="x", labelsize=8)
    return figure


def claims(rows):
    """The prior against what does without one."""
    at = lambda source, metric: find(rows, metric, embedding=source)
    published = {
        "caption's": "FID 16.55 with the caption's embedding, 7.99 with a prior's (§5.1)",
        "none": "in pictures (figure 8)",
    }
    found = []
    for source in ("caption's", "none"):
        name = "the caption's own embedding" if source == "caption's" else "no embedding"
        found += [
            Claim(
                f"The prior's embedding draws images nearer to real ones than {name}.",
                difference(at("prior's", "FD"), at(source, "FD")),
                above=0,
                unit="of Fréchet distance nearer",
                published=published[source],
            ),
            Claim(
                f"The prior's embedding bears out more captions than {name}.",
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
    return Figure(
        draw, claims, sweep, measure, features="configs/features.py", num_captions=num_captions
    )
