"""unCLIP, figure 3: images sampled anew from an image's embedding keep what matters of it.

Ramesh et al. 2022 (2204.06125), §3. Held-out images, and what one trained decoder draws from
their embeddings and other noise, without captions; the oracle says whether the image's colour and
shape are still there.
"""

import numpy as np

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.readings import draw_along, read_along, share
from dalle_jax.figures.unclip import SEED, open_chain
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("unclip_shapes", 64), "small": ("unclip_shapes", 512)}  # config, images
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
VARIATIONS = range(1, 7)


def measure(workdir, num_captions) -> Measured:
    """The images themselves, and variations of each."""
    chain = open_chain(workdir, num_captions)
    z, index = chain.of_images(chain.images), np.arange(num_captions)
    drawn = [chain.draw(z, index=index + n * num_captions) for n in VARIATIONS]
    asked = [caption.split()[-2:] for caption in chain.captions]
    return read_along((0, *VARIATIONS), [chain.images, *drawn], asked, seed=SEED)


def draw(rows, images):
    """Images and their variations over what is seen in them."""
    return draw_along(
        rows,
        images,
        "0: the image; 1 to 6: its variations",
        asked="caption of the image",
        readings=("the colour of the image's caption", "the shape of the image's caption"),
    )


def claims(rows):
    """Of all variations."""
    return [
        Claim(
            f"Over half of the variations keep the image's {name}.",
            share(rows, metric, *VARIATIONS),
            above=0.5,
            unit="of the variations",
            published="in pictures",
        )
        for metric, name in (("color", "colour"), ("shape", "shape"))
    ]


def get_figure(scale: str) -> Figure:
    """CLIP and decoder of one system."""
    config, num_images = SCALES[scale]
    stages = ("clip", "decoder")
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], stages=stages, evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_images)
