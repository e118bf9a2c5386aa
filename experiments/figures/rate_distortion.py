"""DDPM, figure 5 and table 4: most bits say what nobody sees, and the first say nearly all.

Ho et al. 2020 (2006.11239), §4.3. Rate and distortion of a progressive code of held-out images with
their captions, from one pass of the variational bound of one trained decoder. In a chain of 160
steps of the cosine schedule the last has the noise of DDPM's last, sqrt(β_1) = 0.01.
"""

import jax
import numpy as np

from dalle_jax.diffusion import vlb
from dalle_jax.figures.decoder import open_decoder
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.plots import panels
from dalle_jax.figures.rows import mean, select
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
LABELS = {"rmse": "distortion / RMSE on 0 … 255", "rate": "rate / bits per dimension"}


def measure(workdir, num_captions) -> Measured:
    """The code of each image at evenly spaced steps, from the first sent to the last."""
    decoder = open_decoder(workdir, num_captions)

    @jax.jit
    def code(params, x_0, tokens, index):
        of = decoder.denoiser(params, tokens), decoder.stage.schedule, x_0, jax.random.key(SEED)
        bound = vlb.variational_bound(*of, num_timesteps=NUM_TIMESTEPS, sample_index=index)
        return *vlb.rate_distortion(bound), bound.terms[:, 0] / bound.bits_per_dim

    rows, kept = [], np.linspace(0, NUM_TIMESTEPS - 1, KEPT).round().astype(int)
    for index in np.split(np.arange(num_captions), range(BATCH, num_captions, BATCH)):
        found = code(decoder.params, decoder.x_0[index], decoder.tokens[index], index)
        for i, rate, rmse, last in zip(index, *map(np.asarray, found)):
            rows.append({"metric": "share_of_last_step", "image": int(i), "value": float(last)})
            for name, values in (("rate", rate), ("rmse", rmse)):
                head = {"metric": name, "image": int(i)}
                rows += [{**head, "steps_sent": int(n), "value": float(values[n])} for n in kept]
    return Measured(rows, seed=SEED)


def curve(rows, metric):
    """[N, KEPT]."""
    return np.array([row["value"] for row in select(rows, metric)]).reshape(-1, KEPT)


def draw(rows, images):
    """Both by steps, with intervals of the mean over images, and one against the other."""
    figure, (*by_steps, both) = panels(1, 1, 1)
    sent, here = np.linspace(0, 1, KEPT), {name: curve(rows, name) for name in LABELS}
    for axes, (name, label) in zip(by_steps, LABELS.items()):
        axes.plot(sent, here[name].mean(0), label=f"here, mean of {len(here[name])} images")
        ends = [mean(values, "images").interval for values in here[name].T]
        axes.fill_between(sent, *np.transpose(ends), alpha=0.3)
        axes.plot(PUBLISHED_AT, PUBLISHED[name], "o--", ms=4, label="published, CIFAR-10")
        axes.set(xlabel="share of the chain sent", ylabel=label)
    both.plot(here["rate"].mean(0), here["rmse"].mean(0))
    both.plot(PUBLISHED["rate"], PUBLISHED["rmse"], "o--", ms=4)
    both.set(xlabel=LABELS["rate"], ylabel=LABELS["rmse"])
    by_steps[0].legend(frameon=False)
    return figure


def claims(rows):
    """How the bits are spent, image by image."""
    pairs = zip(curve(rows, "rate"), curve(rows, "rmse"))
    left = [rmse[np.searchsorted(rate, EARLY * rate[-1])] / rmse[0] for rate, rmse in pairs]
    last = [row["value"] for row in select(rows, "share_of_last_step")]
    most = "More than half of the bits are spent on the last step, on what is not seen."
    soon = f"With {100 * EARLY:.0f} % of the rate less than a third of the distortion is left."
    at_last = {"unit": "of all bits", "published": "1.97 of 3.75 bits per dimension, 0.53"}
    at_first = {"unit": "of the distortion at rate 0"}
    at_first["published"] = "12.02 of 67.60 with 7 % of the rate, 0.18"
    return [
        Claim(most, mean(last, "images"), above=0.5, **at_last),
        Claim(soon, mean(left, "images"), below=1 / 3, **at_first),
    ]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_images = SCALES[scale]
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_images)
