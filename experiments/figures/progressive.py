"""DDPM, figures 6 and 10: along a chain what is large is settled first, and details last.

Ho et al. 2020 (2006.11239), §4.3. x0_hat along the chain of one trained decoder, unguided, and what
the oracle reads in it of each caption.
"""

import jax
import numpy as np

from dalle_jax.figures.decoder import open_decoder
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import single_rows
from dalle_jax.figures.plots import in_words, panels, plot_estimates, show_strip, strip
from dalle_jax.figures.rows import counted, mean, select
from dalle_jax.metrics import oracle
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.programs import Change, sampled
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("quickstart", 128), "small": ("quickstart", 1024)}  # config, captions
PAPER = ("clip", "decoder")  # of configs/dalle2
STEPS, SHOWN, JUDGED_AT = 20, (1, 2, 4, 6, 8, 12, 16, 20), 8
KINDS = ("color", "size", "shape")  # that captions state of an object
ROWS, SEED = 4, 0
X_0 = r"$\hat{x}_0$"  # in labels


def measure(workdir, num_captions) -> Measured:
    """What is right of each caption at the steps shown, and the first captions' pictures."""
    decoder, chain = open_decoder(workdir, num_captions), {}
    inputs = {"tokens": decoder.tokens, "sample_index": np.arange(num_captions)}
    settings = {"sampler": "ddpm", "num_inference_steps": STEPS, "guidance_scale": 1.0}

    def on_step(step):
        chain[step.index + 1] = to_uint8(step.x0)
        return Change(step.guidance_scale, stop=False)

    sampled(decoder.stage, decoder.params, inputs, jax.random.key(SEED), settings, on_step)
    rows = []
    for step in SHOWN:
        scores = oracle.score(decoder.captions, chain[step]).by_caption
        for kind in KINDS:
            right, stated = scores[kind].T
            rows += single_rows(kind, right / stated, "caption", step=step)
    shown = np.stack([chain[step][:ROWS] for step in SHOWN], axis=1)
    return Measured(rows, {"chain": strip(shown)}, SEED)


def share(rows, kind):
    """Of what captions state, what is right [steps, captions]."""
    return np.reshape([row["value"] for row in select(rows, kind)], (len(SHOWN), -1))


def draw(rows, images):
    """The oracle's reading beside the pictures."""
    figure, (axes, panel) = panels(1, 1.7)
    for kind in KINDS:
        found = {n: counted(right, "captions") for n, right in zip(SHOWN, share(rows, kind))}
        plot_estimates(axes, found, unit=100, label=in_words(kind))
    axes.set(xlabel=f"step of {STEPS}", ylabel=f"right in {X_0} / % of captions", ylim=(-3, 103))
    axes.set_xticks(SHOWN)
    axes.legend(frameon=False)
    show_strip(panel, images["chain"], SHOWN)
    panel.set(xlabel=f"{X_0} after so many of {STEPS} steps")
    return figure


def claims(rows):
    """Colour against shape, on the same captions; shapes are harder, so each against its end."""
    step = SHOWN.index(JUDGED_AT)
    left = {kind: share(rows, kind)[-1] - share(rows, kind)[step] for kind in ("shape", "color")}
    return [
        Claim(
            f"After {JUDGED_AT} of {STEPS} steps more shapes than colours are yet to come right.",
            mean(left["shape"] - left["color"], "captions, paired"),
            above=0,
            unit="of all captions more",
            published="in words: large features first, details last",
        )
    ]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_captions = SCALES[scale]
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_captions)
