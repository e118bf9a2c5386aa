"""Improved DDPM, figures 5 and 3: the linear schedule spends its end on what is noise already.

Nichol & Dhariwal 2021 (2102.09672). Left the share of the clean image's variance that is left at
each step, on the right the same images with the same noise under both schedules. No network.
"""

import matplotlib.pyplot as plt
import numpy as np

from dalle_jax import diffusion
from dalle_jax.data.open import open_source
from dalle_jax.figures.figure import Claim, Estimate, Figure, Measured
from dalle_jax.figures.plots import show_strip, strip
from dalle_jax.figures.rows import find, series
from dalle_jax.pipelines.images import to_uint8

SCHEDULES = ("linear", "cosine")
SCALES = {"tiny": 1000, "small": 1000, "paper": 4000}  # steps of the chain
NOISE_ALONE = 0.01  # ᾱ under which hardly anything of the image is left
COLUMNS = 8  # of a strip
IMAGES = (0, 1)  # of the test split
SEED = 0


def measure(num_timesteps: int) -> Measured:
    """ᾱ of each schedule over the chain, and noised images."""
    source = open_source("captioned_shapes/easy", data_dir="data", split="test", image_size=32)
    x_0 = np.stack([source[i]["image"] for i in IMAGES]) / 127.5 - 1  # [N, H, W, 3]
    noise = np.random.default_rng(SEED).normal(size=x_0.shape)
    t = np.arange(num_timesteps + 1) / num_timesteps
    shown = t[np.linspace(0, num_timesteps, COLUMNS).astype(int)]
    rows, images = [], {}
    for name in SCHEDULES:
        schedule = diffusion.discrete(name, num_timesteps)
        alpha_bar = schedule.alpha(t) ** 2
        rows += [
            {"schedule": name, "t": u, "metric": "alpha_bar", "value": a}
            for u, a in zip(t[:: num_timesteps // 100], alpha_bar[:: num_timesteps // 100])
        ]
        lost = float(np.mean(alpha_bar < NOISE_ALONE))
        rows.append({"schedule": name, "metric": "share_of_noise_alone", "value": lost})
        x_t = [schedule.alpha(u) * x_0 + schedule.sigma(u) * noise for u in shown]
        images[name] = strip(to_uint8(np.stack(x_t, axis=1)))
    return Measured(rows, images, SEED)


def draw(rows, images):
    """The curves beside the strips."""
    figure = plt.figure(figsize=(11, 3.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.9))
    curves = figure.add_subplot(grid[:, 0])
    for i, name in enumerate(SCHEDULES):
        points = series(rows, "alpha_bar", "t", schedule=name)
        curves.plot(list(points), [row["value"] for row in points.values()], label=name)
        panel = figure.add_subplot(grid[i, 1])
        show_strip(panel, images[name], np.linspace(0, 1, COLUMNS))
        panel.set(ylabel=name)
    panel.set_xlabel("diffusion step t / T")
    curves.axhline(NOISE_ALONE, color="grey", linewidth=0.8, linestyle=":")
    curves.annotate(f"ᾱ = {NOISE_ALONE}", (0, 2 * NOISE_ALONE), color="grey", fontsize=8)
    curves.set(xlabel="diffusion step t / T", ylabel="ᾱ, share of the image's variance left")
    curves.legend(frameon=False)
    return figure


def claims(rows):
    """How much of each chain is spent below `NOISE_ALONE`."""
    lost = {name: find(rows, "share_of_noise_alone", schedule=name)["value"] for name in SCHEDULES}
    return [
        Claim(
            f"Over a fifth of the linear schedule's steps have ᾱ < {NOISE_ALONE}.",
            Estimate(100 * lost["linear"], None, "from the table of the schedule"),
            above=20,
            unit="% of the steps",
            published="at 64 px a fifth of its chain can be skipped with hardly a loss of FID",
        ),
        Claim(
            f"The cosine schedule has less than a third as many steps with ᾱ < {NOISE_ALONE}.",
            Estimate(lost["cosine"] / lost["linear"], None, "from the tables of the schedules"),
            below=1 / 3,
            unit="times those of the linear one",
        ),
    ]


def get_figure(scale: str) -> Figure:
    """A chain of as many steps as the scale has."""
    num_timesteps = SCALES[scale]
    return Figure(draw=draw, claims=claims, measure=lambda: measure(num_timesteps))
