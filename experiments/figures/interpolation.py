"""DDPM, figures 8 and 9: two images mixed in the midst of the chain give an image between them.

Ho et al. 2020 (2006.11239), §4.4. Pairs of held-out images are noised with the same noise, mixed,
and drawn anew by one trained decoder without a caption; the oracle says what is seen.
"""

import functools

import jax
import matplotlib.pyplot as plt
import numpy as np
from einops import rearrange

from dalle_jax import diffusion
from dalle_jax.metrics import oracle
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.stages.decoder import empty_captions
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_axes import plot_estimates, show_strip, strip
from dalle_jax.sweeps.figure_decoder import open_decoder
from dalle_jax.sweeps.figure_rows import counted, select
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("quickstart", 40), "small": ("quickstart", 256)}  # config, pairs of images
PAPER = ("clip", "decoder")  # of configs/dalle2
MIXED_AT, STEPS = 0.5, 20
SHARES = np.linspace(0, 1, 7)
ROWS, SEED = 4, 0


def measure(workdir, num_pairs) -> Measured:
    """What is seen in each mixture, and the first pairs' pictures."""
    decoder = open_decoder(workdir, 2 * num_pairs)
    schedule = decoder.stage.schedule

    @jax.jit
    def drawn(params, x_t, tokens):
        denoiser = decoder.denoiser(params, empty_captions(tokens))
        options = {"steps": STEPS, "spacing": np.linspace(MIXED_AT, 0, STEPS + 1)}
        return diffusion.sample(denoiser, schedule, x_t, sampler="ddim", **options)

    pairs = rearrange(decoder.x_0, "(n pair) h w c -> pair n 1 h w c", pair=2)
    noise = np.random.default_rng(SEED).normal(size=pairs.shape[1:])  # one for both
    a, b = schedule.alpha(MIXED_AT) * pairs + schedule.sigma(MIXED_AT) * noise
    share = rearrange(SHARES, "s -> s 1 1 1")
    x_t = ((1 - share) * a + share * b).astype(np.float32)  # [N, S, H, W, C]
    tokens = np.zeros((num_pairs, decoder.tokens.shape[1]), np.int32)
    columns = [drawn(decoder.params, x_t[:, s], tokens) for s in range(len(SHARES))]
    images = to_uint8(np.stack(columns, axis=1))
    rows = [
        {"metric": "one_object", "share": s, "pair": i, "value": seen}
        for j, s in enumerate(SHARES.tolist())
        for i, seen in enumerate(int(one_object(image)) for image in images[:, j])
    ]
    return Measured(rows, {"mixed": strip(images[:ROWS])}, SEED)


def one_object(image) -> bool:
    """Whether an image shows one thing that has a shape."""
    seen = oracle.read_scene(image).objects
    return len(seen) == 1 and seen[0].shape is not None


def one_object_seen(rows, share):
    """In how many mixtures."""
    return counted([row["value"] for row in select(rows, "one_object", share=share)], "pairs")


def draw(rows, images):
    """The share of mixtures that are images of the data, and the pictures."""
    figure, (axes, panel) = plt.subplots(
        1, 2, figsize=(11, 3.8), layout="constrained", width_ratios=(1, 1.7)
    )
    plot_estimates(axes, {s: one_object_seen(rows, s) for s in SHARES}, unit=100)
    axes.set(xlabel="share of the right image", ylim=(-3, 103))
    axes.set_ylabel("one object with a shape is seen / % of pairs")
    show_strip(panel, images["mixed"], SHARES)
    panel.set(xlabel=f"share of the right image, mixed at t = {MIXED_AT}")
    return figure


def claims(rows):
    """Equal mixtures; their average in pixels would be two faint objects."""
    return [
        Claim(
            "Over half of equal mixtures show one object that has a shape.",
            one_object_seen(rows, 0.5),
            above=0.5,
            unit="of the pairs",
            published="in pictures: mixtures look like faces",
        )
    ]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_pairs = SCALES[scale]
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep, functools.partial(measure, num_pairs=num_pairs))
