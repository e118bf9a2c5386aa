"""GLIDE, figure 6, its other half: CLIP guidance pleases the CLIP that guides, not the caption.

Nichol et al. 2021 (2112.10741). One decoder of captions, guided classifier-free or by the gradient
of a CLIP's score; GLIDE's CLIP has learned to see through noise, this one is shown the denoised
estimate. Both are scored by that CLIP, by one of another seed, and by the oracle.
"""

import functools

import matplotlib.pyplot as plt

from dalle_jax.figures.decoder import open_decoder
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.fronts import plot_front
from dalle_jax.figures.guidance import SEED, draw_guided, guides, open_clip
from dalle_jax.figures.measures import factored, judged_rows, score_row
from dalle_jax.figures.plots import METRIC_LABELS
from dalle_jax.figures.rows import difference, find, num_images, series
from dalle_jax.sweeps.grid import Sweep

SCALES = {  # captions, scales of either guidance
    "tiny": (128, {"classifier-free": (1.0, 2.0, 3.0, 5.0), "CLIP": (0.5, 2.0, 8.0)}),
    "small": (1024, {"classifier-free": (1.0, 1.5, 2.0, 3.0, 5.0), "CLIP": (0.5, 1, 2, 4, 8)}),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
CLIP = {"config": "unclip_sketch", "stages": ("clip",)}
POINTS = ({"config": "quickstart"}, CLIP, {**CLIP, "seed": 1})
STEPS, BELOW = 25, 5.0  # of DDIM; sigma / alpha up to which CLIP guides
OF_CLIPS = {"guiding": "cosine by the CLIP that guides", "other": "cosine by another CLIP"}
METRICS = METRIC_LABELS | {clip: (1, label) for clip, label in OF_CLIPS.items()}
APART = ("other", "oracle/caption")  # metrics that did not guide
CLAIMED = {  # by metric, of the strongest CLIP guidance
    "guiding": "The CLIP that guides scores its guidance of {:g} above classifier-free of 3.",
    "other": "Another CLIP scores CLIP guidance of {:g} below classifier-free of 3.",
    "FD": "Images of CLIP guidance {:g} are further from real ones than classifier-free 3.",
    "oracle/caption": "Classifier-free guidance of 3 gets more captions right than CLIP's of {:g}.",
}
UNITS = ("of cosine more", "of cosine less", "of Fréchet distance more", "of all captions more")
PUBLISHED = (
    *("", "", "in curves: classifier-free guidance has the better FID at every score"),
    "people prefer it for the caption: Elo 110.9 against 29.3 (table 1)",
)


def measure(workdirs, num_captions, extractor, scales) -> Measured:
    """Every metric of every guidance at every scale."""
    decoder = open_decoder(workdirs[0], num_captions)
    clips = dict(zip(OF_CLIPS, map(open_clip, workdirs[1:])))
    reals = factored(decoder.images, extractor)
    rows, weights = [], (decoder.params, clips["guiding"].params)
    for name, guide in guides(decoder, clips["guiding"], BELOW).items():
        for scale in scales[name]:
            images = draw_guided(decoder, functools.partial(guide, scale=scale), weights, STEPS)
            head = {"guidance": name, "scale": scale}
            rows += judged_rows(decoder.captions, images, reals, extractor, **head)
            for judge, clip in clips.items():
                rows.append(score_row(judge, clip.scores(images, decoder.captions), **head))
    return Measured(rows, seed=SEED)


def draw(rows, images):
    """Fronts by what did not guide, above; below it, against the CLIP that guided."""
    figure, panels = plt.subplots(2, 2, figsize=(9.5, 8), layout="constrained")
    pairs = [(judge, "FD") for judge in APART] + [("guiding", judge) for judge in APART]
    for axes, pair in zip(panels.flat, pairs):
        units, (xlabel, ylabel) = zip(*(METRICS[judge] for judge in pair))
        for name in ("classifier-free", "CLIP"):
            found = [series(rows, judge, "scale", guidance=name) for judge in pair]
            plot_front(axes, *found, units, label=f"{name} guidance, by scale")
        axes.set(xlabel=xlabel, ylabel=ylabel)
    panels[0, 0].legend(title=f"{num_images(rows)} captions", frameon=False)
    return figure


def claims(rows):
    """The strongest CLIP guidance against classifier-free guidance of 3."""
    last = max(series(rows, "guiding", "scale", guidance="CLIP"), default=float("nan"))
    found = []
    for (judge, statement), unit, published in zip(CLAIMED.items(), UNITS, PUBLISHED):
        free = find(rows, judge, guidance="classifier-free", scale=3.0)
        by_clip = find(rows, judge, guidance="CLIP", scale=last)
        less_and_more = (by_clip, free) if judge in APART else (free, by_clip)
        more = {"above": 0, "unit": unit, "published": published}
        found.append(Claim(statement.format(last), difference(*less_and_more), **more))
    return found


def get_figure(scale: str) -> Figure:
    """One decoder and two CLIPs."""
    num_captions, scales = SCALES[scale]
    sweep = Sweep("configs/quickstart.py", POINTS, ("clip", "decoder"), evaluation=None)
    how = functools.partial(measure, scales=scales)
    return Figure(draw, claims, sweep, how, "configs/features.py", num_captions, together=True)
