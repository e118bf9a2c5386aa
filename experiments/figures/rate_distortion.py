"""DDPM, figure 5 and table 4: most bits say what nobody sees, and the first say nearly all.

Ho et al. 2020 (2006.11239), §4.3. Rate and distortion of a progressive code of held-out images with
their captions, from one pass of the variational bound of one trained decoder. In a chain of 160
steps of the cosine schedule the last has the noise of DDPM's last, sqrt(β_1) = 0.01.
"""

import functools

import jax
import matplotlib.pyplot as plt
import numpy as np

from dalle_jax.cli.figure_decoder import open_decoder
from dalle_jax.diffusion import vlb
from dalle_jax.sweeps.figure import Claim, Figure, Measured
from dalle_jax.sweeps.figure_rows import mean, select
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("quickstart", 32), "small": ("shapes", 512)}  # config, images
PAPER = ("clip", "decoder")  # of configs/dalle2
NUM_TIMESTEPS = 160
KEPT, BATCH, SEED = 50, 32, 0
EARLY = 0.1  # of the rate
PUBLISHED_AT = np.arange(1, 11) / 10  # of the chain
PUBLISHED = {  # table 4, CIFAR-10, from the first step sent to the last
    "rate": (0, 0.00013, 0.00081, 0.00282, 0.00716, 0.01507, 0.02866, 0.05415, 0.11994, 1.77581),
    "rmse": (67.60, 60.97, 54.19, 46.13, 38.03, 30.81, 24.44, 18.47, 12.02, 0.95136),
}


def measure(workdir, num_images) -> Measured:
    """The code of each image at evenly spaced steps, from the first sent to the last."""
    decoder = open_decoder(workdir, num_images)

    @jax.jit
    def code(params, x_0, tokens, index):
        model = decoder.denoiser(params, tokens), decoder.stage.schedule
        how = {"num_timesteps": NUM_TIMESTEPS, "sample_index": index}
        bound = vlb.variational_bound(*model, x_0, jax.random.key(SEED), **how)
        return *vlb.rate_distortion(bound), bound.terms[:, 0] / bound.bits_per_dim

    rows, kept = [], np.linspace(0, NUM_TIMESTEPS - 1, KEPT).round().astype(int)
    for index in np.arange(num_images).reshape(-1, BATCH):
        found = code(decoder.params, decoder.x_0[index], decoder.tokens[index], index)
        for i, rate, rmse, last in zip(index, *map(np.asarray, found)):
            head = {"image": int(i)}
            rows.append({**head, "metric": "share_of_last_step", "value": float(last)})
            for name, values in (("rate", rate), ("rmse", rmse)):
                at = [{"steps_sent": int(n), "value": float(values[n])} for n in kept]
                rows += [{**head, "metric": name, **one} for one in at]
    return Measured(rows, seed=SEED)


def curve(rows, metric):
    """[N, KEPT]."""
    return np.array([row["value"] for row in select(rows, metric)]).reshape(-1, KEPT)


def draw(rows, images):
    """Both by steps, with intervals of the mean over images, and one against the other."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    here = {name: curve(rows, name).mean(0) for name in PUBLISHED}
    ours = f"here, mean of {len(curve(rows, 'rate'))} images"
    published = (PUBLISHED, PUBLISHED_AT, "o--", "published, CIFAR-10")
    for of, sent, style, label in ((here, np.linspace(0, 1, KEPT), "-", ours), published):
        for panel, x, y in zip(axes, (sent, sent, of["rate"]), ("rmse", "rate", "rmse")):
            panel.plot(x, of[y], style, markersize=4, label=label)
    labels = {"rmse": "distortion / RMSE on 0 … 255", "rate": "rate / bits per dimension"}
    for panel, name in zip(axes, labels):
        ends = [mean(values, "images").interval for values in curve(rows, name).T]
        panel.fill_between(np.linspace(0, 1, KEPT), *np.transpose(ends), alpha=0.3)
        panel.set(xlabel="share of the chain sent", ylabel=labels[name])
    axes[2].set(xlabel=labels["rate"], ylabel=labels["rmse"])
    axes[0].legend(frameon=False)
    return figure


def claims(rows):
    """How the bits are spent, image by image."""
    pairs = zip(curve(rows, "rate"), curve(rows, "rmse"))
    left = [rmse[np.searchsorted(rate, EARLY * rate[-1])] / rmse[0] for rate, rmse in pairs]
    last = [row["value"] for row in select(rows, "share_of_last_step")]
    most = "More than half of the bits are spent on the last step, on what is not seen."
    soon = f"With {100 * EARLY:.0f} % of the rate less than a third of the distortion is left."
    of_bits = {"unit": "of all bits", "published": "1.97 of 3.75 bits per dimension, 0.53"}
    of_distortion = {"unit": "of the distortion at rate 0"}
    of_distortion["published"] = "12.02 of 67.60 with 7 % of the rate, 0.18"
    return [
        Claim(most, mean(last, "images"), above=0.5, **of_bits),
        Claim(soon, mean(left, "images"), below=1 / 3, **of_distortion),
    ]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_images = SCALES[scale]
    how = functools.partial(measure, num_images=num_images)
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=how)
