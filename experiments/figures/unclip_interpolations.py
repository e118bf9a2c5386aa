"""unCLIP, figure 4: on the way between two images' embeddings are images between the two.

Ramesh et al. 2022 (2204.06125), §3. One trained decoder draws from embeddings along the great
circle between those of two held-out images, from one noise and without captions; the oracle says
whether the second image's colour and shape are seen.
"""

import numpy as np

from dalle_jax.figures.figure import Claim, Estimate, Figure, Measured
from dalle_jax.figures.readings import draw_along, read_along
from dalle_jax.figures.rows import counted, mean, select
from dalle_jax.figures.unclip import SEED, open_chain, way
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("unclip_shapes", 64), "small": ("unclip_shapes", 512)}  # config, pairs
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
SHARES = np.linspace(0, 1, 7)


def measure(workdir, num_captions) -> Measured:
    """Of each image on the way to the one before it."""
    chain = open_chain(workdir, num_captions)
    z, index = chain.of_images(chain.images), np.zeros(num_captions, int)
    drawn = [chain.draw(way(z, np.roll(z, 1, axis=0), share), index=index) for share in SHARES]
    asked = [chain.captions[i - 1].split()[-2:] for i in range(num_captions)]
    return read_along(SHARES, drawn, asked, seed=SEED)


def draw(rows, images):
    """Ways over what is seen on them."""
    return draw_along(
        rows,
        images,
        "share of the way to the second image",
        asked="caption of the second image",
        readings=("the second image's colour", "the second image's shape"),
    )


def gained(rows, metric) -> Estimate:
    """By how much more often the second image's is seen at the end than at the start."""
    ends = [[row["value"] for row in select(rows, metric, at=at)] for at in (1.0, 0.0)]
    return mean(np.subtract(*ends), "pairs")


def kept(rows, metric) -> Estimate:
    """How often what is the second image's, once seen on the way, is seen up to the end."""
    places = sorted({row["at"] for row in select(rows, metric)})
    on_way = [[row["value"] for row in select(rows, metric, at=at)] for at in places]
    reached = [one for one in zip(*on_way) if any(one)]
    return counted([list(one) == sorted(one) for one in reached], "pairs in which it is seen")


def claims(rows):
    """At the end of the way, against its start; and on the way."""
    more = {"above": 0.5, "unit": "of the pairs more", "published": "in pictures"}
    return [
        Claim(
            "Over half of the images take the second one's colour on the way.",
            gained(rows, "color"),
            **more,
        ),
        Claim(
            "Over half of the images take the second one's shape on the way.",
            gained(rows, "shape"),
            **more,
        ),
        Claim(
            "In over half the second one's colour, once it is seen, is seen up to the end.",
            kept(rows, "color"),
            **{**more, "unit": "of the pairs"},
        ),
    ]


def get_figure(scale: str) -> Figure:
    """CLIP and decoder of one system."""
    config, num_images = SCALES[scale]
    stages = ("clip", "decoder")
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], stages=stages, evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_images)
