"""unCLIP, figure 5: an image is changed by what tells one caption from another.

Ramesh et al. 2022 (2204.06125), §3. The embeddings of held-out images are turned towards the
difference of two captions' embeddings, their own and one of another colour, and sampled by one
trained decoder from the noise that DDIM's inversion finds for each image; the oracle says whether
the colour is the new one and the shape the old one.
"""

import numpy as np

from dalle_jax.data.shapes.scene import COLORS
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.readings import draw_along, read_along, share
from dalle_jax.figures.unclip import SEED, open_chain, way
from dalle_jax.metrics.kernel import normalized
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("unclip_shapes", 64), "small": ("unclip_shapes", 512)}  # config, images
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
TURNS = np.linspace(0, 0.5, 7)  # shares of the way; the paper's end at 0.25 to 0.5
STEPS = 30
UNGUIDED = {"sampler": "ddim", "num_inference_steps": STEPS, "guidance_scale": 1.0}
NAMES = list(COLORS)
LED_TO = {color: NAMES[(i + 3) % len(NAMES)] for i, color in enumerate(NAMES)}


def measure(workdir, num_captions) -> Measured:
    """Each image led to another colour."""
    chain = open_chain(workdir, num_captions)
    z = chain.of_images(chain.images)
    asked = [(LED_TO[color], shape) for *_, color, shape in map(str.split, chain.captions)]
    there = [f"{c.rsplit(maxsplit=2)[0]} {' '.join(to)}" for c, to in zip(chain.captions, asked)]
    difference = normalized(chain.of_captions(there) - chain.of_captions(chain.captions))
    x_T = chain.invert(z, steps=STEPS)
    drawn = [chain.draw(way(z, difference, turn), x_T=x_T, **UNGUIDED) for turn in TURNS]
    return read_along(TURNS, drawn, asked, seed=SEED)


def draw(rows, images):
    """Images as they are turned over what is seen in them."""
    return draw_along(
        rows,
        images,
        "share of the way to the captions' difference",
        asked="target caption",
        readings=(
            "the target caption's colour",
            "the target caption's shape, which is the image's own",
        ),
    )


def claims(rows):
    """At the end, and what remains where the paper's turns begin to end."""
    more = {"above": 0.5, "unit": "of the images", "published": "in pictures, up to 0.25 to 0.5"}
    return [
        Claim(
            f"Turned by {TURNS[-1]:g}, over half of the images have the other caption's colour.",
            share(rows, "color", TURNS[-1]),
            **more,
        ),
        Claim(
            f"Turned by {TURNS[3]:g}, over half of the images keep their own shape.",
            share(rows, "shape", TURNS[3]),
            **more,
        ),
    ]


def get_figure(scale: str) -> Figure:
    """CLIP and decoder of one system."""
    config, num_images = SCALES[scale]
    stages = ("clip", "decoder")
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], stages=stages, evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_images)
