"""DDPM, figures 8 and 9: two images mixed in the midst of the chain give an image between them.

Ho et al. 2020 (2006.11239), §4.4. Pairs of held-out images are noised with the same noise, mixed,
and sampled anew by one trained decoder without a caption; the oracle says what is seen.
"""

import numpy as np
from einops import rearrange

from dalle_jax.figures.decoder import open_decoder
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import seen
from dalle_jax.figures.plots import panels, plot_estimates, show_strip, strip
from dalle_jax.figures.rows import counted, select
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("quickstart", 128), "small": ("quickstart", 512)}  # config, pairs of images
PAPER = ("clip", "decoder")  # of configs/dalle2
MIXED_AT, STEPS = 0.5, 20
SHARES = np.linspace(0, 1, 7)
ROWS, SEED = 4, 0
APART = 0.2  # of the image: the least distance of two places between which one can be


def measure(workdir, num_captions) -> Measured:
    """What is seen in each mixture, one a caption, and the first pairs' pictures."""
    decoder, rows = open_decoder(workdir, 2 * num_captions), []
    schedule = decoder.stage.schedule
    pairs = rearrange(decoder.x_0, "(n pair) h w c -> pair n 1 h w c", pair=2)
    noise = np.random.default_rng(SEED).normal(size=pairs.shape[1:])  # one for both
    a, b = schedule.alpha(MIXED_AT) * pairs + schedule.sigma(MIXED_AT) * noise
    share = rearrange(SHARES, "s -> s 1 1 1")
    x_t = ((1 - share) * a + share * b).astype(np.float32)  # [N, S, H, W, C]
    how = {"steps": STEPS, "sampler": "ddim"}
    images = [decoder.draw_from(x_t[:, s], MIXED_AT, **how) for s in range(len(SHARES))]
    images = np.stack(images, axis=1)
    for i, row in enumerate(images):
        found = [seen(image) for image in row]
        for s, one in zip(SHARES.tolist(), found):
            rows.append({"metric": "one_object", "share": s, "pair": i, "value": int(bool(one))})
        if (way := share_of_way(found[0], found[len(SHARES) // 2], found[-1])) is not None:
            rows.append({"metric": "way", "share": 0.5, "pair": i, "value": way})
    return Measured(rows, {"mixed": strip(images[:ROWS])}, SEED)


def share_of_way(start, middle, end):
    """How far the middle's object is from the first to the last; None where that is unknown."""
    if None in (start, middle, end):
        return None
    a, b, c = (np.array([one.cx, one.cy]) for one in (start, middle, end))
    way = np.square(c - a).sum()
    return float((b - a) @ (c - a) / way) if way > APART**2 else None


def one_object_seen(rows, share):
    """In how many mixtures."""
    return counted([row["value"] for row in select(rows, "one_object", share=share)], "pairs")


def draw(rows, images):
    """The share of mixtures that are images of the data, and the pictures."""
    figure, (axes, panel) = panels(1, 1.7)
    plot_estimates(axes, {s: one_object_seen(rows, s) for s in SHARES}, unit=100)
    axes.set(xlabel="share of the right image", ylim=(-3, 103))
    axes.set_ylabel("one object with a shape is seen / % of pairs")
    show_strip(panel, images["mixed"], SHARES)
    panel.set(xlabel=f"share of the right image, mixed at t = {MIXED_AT}")
    return figure


def claims(rows):
    """Equal mixtures; an average of pixels has two faint objects, a copy is at either end."""
    half = {"above": 0.5, "unit": "of the pairs"}
    half["published"] = "in pictures: mixtures look like faces"
    ways = [0.2 < row["value"] < 0.8 for row in select(rows, "way")]
    between = counted(ways, "pairs with one object in all three, apart")
    one = "Over half of equal mixtures show one object that has a shape."
    there = "In over half of equal mixtures it is between the places that it has in the two."
    return [Claim(one, one_object_seen(rows, 0.5), **half), Claim(there, between, **half)]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_pairs = SCALES[scale]
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_pairs)
