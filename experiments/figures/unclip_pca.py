"""unCLIP, figure 7: few principal dimensions of an embedding say what is seen, more say how.

Ramesh et al. 2022 (2204.06125). CLIP's embeddings of held-out images are cut to their first
principal dimensions, fitted on other images, and decoded by one trained decoder without a caption,
from the same noise; the oracle says which of an image's attributes are still there.
"""

import functools

import numpy as np

from dalle_jax.figures.figure import MISSING, Claim, Estimate, Figure, Measured
from dalle_jax.figures.measures import single_rows
from dalle_jax.figures.plots import in_words, mark, panels, plot_estimates, show_strip, strip
from dalle_jax.figures.rows import counted, find, mean, select
from dalle_jax.figures.unclip import SEED, open_chain
from dalle_jax.metrics import oracle
from dalle_jax.metrics.kernel import normalized
from dalle_jax.models import embedding_codec
from dalle_jax.sweeps.grid import Sweep

# Config, images reconstructed, images that the dimensions are fitted on.
SCALES = {"tiny": ("unclip_shapes", 256, 2048), "small": ("unclip_shapes", 1024, 8192)}
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
DIMENSIONS = (1, 2, 4, 8, 16, 40, 128)
FEW, KEPT = 4, 40  # of 128; the paper keeps 319 of 1024
KINDS = ("color", "size", "shape")
ROWS = 4


def measure(workdir, num_captions, num_fitted) -> Measured:
    """Attributes that are seen again and variance lost, by how many dimensions are kept."""
    chain = open_chain(workdir, num_captions)
    source = chain.pipe.run.open_source("train")
    fitted = chain.of_images(np.stack([source[i]["image"] for i in range(num_fitted)]))
    true = chain.of_images(chain.images)
    variance = ((true - fitted.mean(0)) ** 2).mean()
    rows, columns = [], []
    for count in DIMENSIONS:
        codec = embedding_codec.fit(fitted, fitted, count)
        kept = (true - codec.mean) @ codec.components @ codec.components.T + codec.mean
        lost = float(((true - kept) ** 2).mean() / variance)
        rows.append({"metric": "lost", "dimensions": count, "value": lost})
        images = chain.draw(normalized(kept).astype(np.float32))
        columns.append(images[:ROWS])
        scores = oracle.score(chain.captions, images).by_caption
        for kind in KINDS:
            rows += single_rows(kind, scores[kind][:, 0], "image", dimensions=count)
    shown = np.stack([*columns, chain.images[:ROWS]], axis=1)
    return Measured(rows, {"drawn": strip(shown)}, SEED)


def seen(rows, kind, count):
    """Of each image, whether the attribute is seen again [N]."""
    return np.array([row["value"] for row in select(rows, kind, dimensions=count)])


def draw(rows, images):
    """What is seen by dimensions, what is lost, and the pictures."""
    figure, (axes, panel) = panels(1, 1.7)
    for kind in KINDS:
        found = {n: counted(seen(rows, kind, n), "images") for n in DIMENSIONS}
        plot_estimates(axes, found, unit=100, label=in_words(kind))
    lost = [100 * row["value"] for row in select(rows, "lost")]
    axes.plot(DIMENSIONS, lost, "k:", label="variance lost")
    mark(axes, DIMENSIONS, "principal dimensions kept of 128")
    axes.set(ylabel=f"% of {len(seen(rows, KINDS[0], 1))} images", ylim=(-3, 103))
    axes.legend(frameon=False, fontsize=8)
    show_strip(panel, images["drawn"], [*map(str, DIMENSIONS), "real"])
    panel.set(xlabel="principal dimensions kept")
    return figure


def claims(rows):
    """How much is lost at the paper's share, and what comes first."""
    row = find(rows, "lost", dimensions=KEPT)
    lost = Estimate(row["value"], None, "over held-out images") if row else MISSING
    more = mean(seen(rows, "shape", KEPT) - seen(rows, "shape", FEW), "images, paired")
    little = f"With {KEPT} of 128 dimensions less than 1 % of the variance is lost."
    shapes = f"With {KEPT} dimensions more shapes are seen again than with {FEW}."
    of_variance = {"unit": "of the variance", "published": "under 1 % with 319 of 1024 (§2.2)"}
    of_images = {"unit": "of all images more", "published": "in pictures, 20 to 320 dimensions"}
    return [
        Claim(little, lost, below=0.01, **of_variance),
        Claim(shapes, more, above=0, **of_images),
    ]


def get_figure(scale: str) -> Figure:
    """CLIP and decoder of one system."""
    config, num_captions, num_fitted = SCALES[scale]
    sweep = Sweep(f"configs/{config}.py", [{}], ("clip", "decoder"), evaluation=None)
    how = functools.partial(measure, num_fitted=num_fitted)
    return Figure(draw, claims, sweep=sweep, measure=how, num_captions=num_captions)
