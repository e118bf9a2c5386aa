"""Zero terminal SNR: where the last step holds something of the image, brightness goes to the mean.

Lin et al. 2024 (2305.08891). Two decoders that differ only in the schedule: scaled-linear, as
Stable Diffusion's, keeps √ᾱ_T = 0.07 of the image in the last step; rescaled it keeps nothing. Both
draw from pure noise; how bright the images are on average is compared with the real ones.
"""

import numpy as np

from dalle_jax.figures.decoder import held_out
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import score_row, single_rows
from dalle_jax.figures.plots import panels
from dalle_jax.figures.rows import difference, find, num_images, select
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.sweeps.grid import Sweep, product

# Config, steps of training, captions.
SCALES = {"tiny": ("quickstart", 1500, 512), "small": ("quickstart", 5500, 2048)}
PAPER = ("clip", "decoder")  # of configs/dalle2
LEFT = {"as it is": "√ᾱ_T = 0.07", "rescaled": "√ᾱ_T = 0"}
SOME, NONE = LEFT
SEED, TENTH = 0, 0.1
# As the paper draws, from the last step on.
SAMPLER = {"sampler": "ddim", "num_inference_steps": 50, "spacing": "trailing"}


def measure(workdir, num_captions) -> Measured:
    """Brightness of sampled and real images, and which are as dark or bright as few real ones."""
    pipe = DallePipeline.from_pretrained(workdir)
    schedule = NONE if pipe.run.config["decoder"]["diffusion"]["zero_terminal_snr"] else SOME
    (captions, images), index = held_out(pipe.run, num_captions), np.arange(num_captions)
    drawn = pipe.generate(captions, sample_index=index, seed=SEED, guidance_scale=1.0, **SAMPLER)
    of, rows = {"real": brightness(images), schedule: brightness(drawn)}, []
    dark, bright = np.quantile(of["real"], (TENTH, 1 - TENTH))
    for name, values in of.items():
        rows += single_rows("brightness", values, "caption", images=name)
    extreme = ((of[schedule] < dark) | (of[schedule] > bright)).astype(float)
    rows.append(score_row("extreme", extreme, images=schedule))
    return Measured(rows, seed=SEED)


def brightness(images):
    """Mean over pixels and channels, 0 to 1."""
    return np.mean(images, axis=(1, 2, 3)) / 255


def draw(rows, images):
    """Histograms beside that of the real images."""
    figure, by_schedule = panels(1, 1, size=(9, 3.6), sharey=True)
    bins = np.linspace(0, 1, 26)
    for axes, (schedule, left) in zip(by_schedule, LEFT.items()):
        for name, style in (("real", {"color": "0.75"}), (schedule, {"histtype": "step"})):
            # Each decoder's rows repeat the real images.
            found = select(rows, "brightness", images=name)
            values = {row["caption"]: row["value"] for row in found}.values()
            axes.hist(list(values), bins, label=name, linewidth=2, **style)
        axes.set(title=f"scaled-linear {schedule}: {left}", xlabel="mean brightness, 0 to 1")
        axes.legend(frameon=False)
    by_schedule[0].set_ylabel(f"images of {num_images(rows)}")
    return figure


def claims(rows):
    """A fifth of the real images are as dark or as bright as that."""
    at = lambda schedule: find(rows, "extreme", images=schedule)
    return [
        Claim(
            f"With {LEFT[SOME]} fewer images are as dark or bright as a fifth of the real ones.",
            difference(at(SOME), at(NONE)),
            above=0,
            unit="of all images fewer",
            published="in histograms",
        )
    ]


def get_figure(scale: str) -> Figure:
    """One schedule, rescaled and not."""
    config, steps, num_captions = SCALES[scale]
    sweep = Sweep(
        config=f"configs/{config}.py",
        points=product(("decoder.diffusion.zero_terminal_snr", (False, True))),
        overrides={
            "decoder.train.steps": steps,
            "decoder.loss.log_normal_times": (),
            "decoder.diffusion.schedule": "scaled_linear",
        },
        evaluation=None,
    )
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_captions)
