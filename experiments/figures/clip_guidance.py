"""GLIDE, figure 6, its other half: CLIP guidance pleases the CLIP that guides, not the caption.

Nichol et al. 2021 (2112.10741). One decoder of captions, guided classifier-free or by the gradient
of a CLIP's score; GLIDE's CLIP has learned to see through noise, this one is shown the denoised
estimate. Both are scored by that CLIP, by one of another seed, and by the oracle.
"""

import dataclasses
import functools

import jax.numpy as jnp
import matplotlib.pyplot as plt

from dalle_jax.cli.figure_guidance import SEED, clip_guided, draw_guided, open_clip
from dalle_jax.diffusion.guidance import classifier_free
from dalle_jax.stages.decoder import empty_captions
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_decoder import open_decoder
from dalle_jax.sweeps.figure_measures import caption_row, score_row
from dalle_jax.sweeps.figure_rows import difference, find, num_images, series
from dalle_jax.sweeps.grid import Sweep

SCALES = {  # captions drawn, scales of either guidance
    "tiny": (128, {"classifier-free": (1.0, 2.0, 3.0, 5.0), "CLIP": (0.5, 2.0, 8.0)}),
    "small": (1024, {"classifier-free": (1.0, 1.5, 2.0, 3.0, 5.0), "CLIP": (0.5, 1, 2, 4, 8)}),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
CLIP = {"config": "unclip_shapes", "stages": ("clip",)}
POINTS = ({"config": "quickstart"}, CLIP, {**CLIP, "seed": 1})
STEPS, BELOW = 25, 5.0  # of DDIM; sigma / alpha up to which CLIP guides


def measure(workdirs, num_captions, scales) -> Measured:
    """Every judge's scores of every guidance at every scale."""
    decoder = open_decoder(workdirs[0], num_captions)
    stage, clips = decoder.stage, dict(zip(("guiding", "other"), map(open_clip, workdirs[1:])))
    text = clips["guiding"].of_captions(decoder.captions)

    def by_itself(weights, tokens, index, scale):
        cond, uncond = (stage.encode(weights[0], t) for t in (tokens, empty_captions(tokens)))
        return classifier_free(functools.partial(stage.denoise, weights[0]), cond, uncond, scale)

    def by_clip(weights, tokens, index, scale):
        plain, own = by_itself(weights, tokens, index, 1), jnp.asarray(text)[index]
        clip = dataclasses.replace(clips["guiding"], params=weights[1])
        return clip_guided(plain, clip, own, stage.schedule, scale, BELOW)

    rows, weights = [], (decoder.params, clips["guiding"].params)
    for name, guide in (("classifier-free", by_itself), ("CLIP", by_clip)):
        for scale in scales[name]:
            images = draw_guided(decoder, functools.partial(guide, scale=scale), weights, STEPS)
            head = {"guidance": name, "scale": scale}
            rows.append(caption_row(decoder.captions, images, **head))
            for judge, clip in clips.items():
                rows.append(score_row(judge, clip.scores(images, decoder.captions), **head))
    return Measured(rows, seed=SEED)


def draw(rows, images):
    """What others find against what the CLIP that guides finds."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
    count = f"% of {num_images(rows)} captions borne out in full"
    judges = ("oracle/caption", 100, count), ("other", 1, "cosine by another CLIP")
    for axes, (judge, unit, label) in zip(panels, judges):
        for name in ("classifier-free", "CLIP"):
            found = series(rows, "guiding", "scale", guidance=name)
            x = [row["value"] for row in found.values()]
            y = [unit * find(rows, judge, guidance=name, scale=s)["value"] for s in found]
            axes.plot(x, y, "o-", label=f"{name} guidance, by scale")
            for scale, *place in zip(found, x, y):
                axes.annotate(f" {scale:g}", place, fontsize=8)
        axes.set(xlabel="cosine by the CLIP that guides", ylabel=label, xmargin=0.1, ymargin=0.1)
    panels[0].legend(frameon=False, fontsize=8)
    return figure


def claims(rows):
    """Classifier-free guidance of 3 against the strongest CLIP guidance."""
    last = max(series(rows, "guiding", "scale", guidance="CLIP"), default=None)
    free = lambda judge: find(rows, judge, guidance="classifier-free", scale=3.0)
    by_clip = lambda judge: find(rows, judge, guidance="CLIP", scale=last)
    return [
        Claim(
            "The CLIP that guides scores its own guidance above classifier-free guidance of 3.",
            difference(free("guiding"), by_clip("guiding")),
            above=0,
            unit="of cosine more",
        ),
        Claim(
            "Another CLIP scores it below.",
            difference(by_clip("other"), free("other")),
            above=0,
            unit="of cosine less",
        ),
        Claim(
            "Classifier-free guidance bears out more captions.",
            difference(by_clip("oracle/caption"), free("oracle/caption")),
            above=0,
            unit="of all captions more",
            published="people prefer it for the caption: Elo 110.9 against 29.3 (table 1)",
        ),
    ]


def get_figure(scale: str) -> Figure:
    """One decoder and two CLIPs."""
    num_captions, scales = SCALES[scale]
    sweep = Sweep("configs/quickstart.py", POINTS, ("clip", "decoder"), evaluation=None)
    how = functools.partial(measure, scales=scales)
    return Figure(draw, claims, sweep, how, num_captions=num_captions, together=True)
