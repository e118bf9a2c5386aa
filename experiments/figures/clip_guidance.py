"""GLIDE, figure 6, its other half: CLIP guidance pleases the CLIP that guides, not the caption.

Nichol et al. 2021 (2112.10741). One decoder of captions, guided classifier-free or by the gradient
of a CLIP's score; GLIDE's CLIP has learned to see through noise, this one is shown the denoised
estimate. Both are scored by that CLIP, by one of another seed, and by the oracle.
"""

import functools

import matplotlib.pyplot as plt

from dalle_jax.cli.figure_decoder import open_decoder
from dalle_jax.cli.figure_guidance import SEED, draw_guided, guides, open_clip
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_axes import plot_front
from dalle_jax.sweeps.figure_measures import factored, judged_rows, score_row
from dalle_jax.sweeps.figure_rows import difference, find, num_images, series
from dalle_jax.sweeps.grid import Sweep

SCALES = {  # captions drawn, scales of either guidance
    "tiny": (128, {"classifier-free": (1.0, 2.0, 3.0, 5.0), "CLIP": (0.5, 2.0, 8.0)}),
    "small": (1024, {"classifier-free": (1.0, 1.5, 2.0, 3.0, 5.0), "CLIP": (0.5, 1, 2, 4, 8)}),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
CLIP = {"config": "unclip_sketch", "stages": ("clip",)}
POINTS = ({"config": "quickstart"}, CLIP, {**CLIP, "seed": 1})
STEPS, BELOW = 25, 5.0  # of DDIM; sigma / alpha up to which CLIP guides


def measure(workdirs, num_captions, extractor, scales) -> Measured:
    """Every judge's scores of every guidance at every scale."""
    decoder = open_decoder(workdirs[0], num_captions)
    clips = dict(zip(("guiding", "other"), map(open_clip, workdirs[1:])))
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
    labels = {
        "guiding": (1, "cosine by the CLIP that guides"),
        "other": (1, "cosine by another CLIP"),
        "FD": (1, f"Fréchet distance of {num_images(rows)} images"),
        "oracle/caption": (100, f"% of {num_images(rows)} captions borne out in full"),
    }
    above = ("other", "FD"), ("oracle/caption", "FD")
    below = ("guiding", "other"), ("guiding", "oracle/caption")
    for axes, pair in zip(panels.flat, above + below):
        for name in ("classifier-free", "CLIP"):
            found = [series(rows, judge, "scale", guidance=name) for judge in pair]
            units = [labels[judge][0] for judge in pair]
            plot_front(axes, *found, units, label=f"{name} guidance, by scale")
        axes.set(xlabel=labels[pair[0]][1], ylabel=labels[pair[1]][1])
    panels[0, 0].legend(frameon=False)
    return figure


def claims(rows):
    """The strongest CLIP guidance against classifier-free guidance of 3."""
    last = max(series(rows, "guiding", "scale", guidance="CLIP"), default=float("nan"))
    free = lambda judge: find(rows, judge, guidance="classifier-free", scale=3.0)
    by_clip = lambda judge: find(rows, judge, guidance="CLIP", scale=last)
    own, others = "guiding", "other"
    told = {  # statement: what is more, than what, unit, published
        f"The CLIP that guides scores its guidance of {last:g} above classifier-free of 3.": (
            *(by_clip(own), free(own), "of cosine more"),
            "",
        ),
        f"Another CLIP scores CLIP guidance of {last:g} below classifier-free of 3.": (
            *(free(others), by_clip(others), "of cosine less"),
            "",
        ),
        f"Images of CLIP guidance {last:g} are further from real ones than classifier-free 3.": (
            *(by_clip("FD"), free("FD"), "of Fréchet distance more"),
            "in curves: classifier-free guidance has the better FID at every score",
        ),
        f"Classifier-free guidance of 3 bears out more captions than CLIP's of {last:g}.": (
            *(free("oracle/caption"), by_clip("oracle/caption"), "of all captions more"),
            "people prefer it for the caption: Elo 110.9 against 29.3 (table 1)",
        ),
    }
    return [
        Claim(statement, difference(less, more), above=0, unit=unit, published=published)
        for statement, (more, less, unit, published) in told.items()
    ]


def get_figure(scale: str) -> Figure:
    """One decoder and two CLIPs."""
    num_captions, scales = SCALES[scale]
    sweep = Sweep("configs/quickstart.py", POINTS, ("clip", "decoder"), evaluation=None)
    how = functools.partial(measure, scales=scales)
    options = {"features": "configs/features.py", "num_captions": num_captions}
    return Figure(draw, claims, sweep, how, together=True, **options)
