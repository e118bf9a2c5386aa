"""DDPM, figure 7: images sampled from one x_t have in common what is large, the more the smaller t.

Ho et al. 2020 (2006.11239), §4.3. Held-out images are noised to several t, and one trained
decoder samples from each x_t several times without a caption; the oracle says how often two samples
of one x_t agree.
"""

from itertools import combinations

import numpy as np
from einops import repeat

from dalle_jax.figures.decoder import open_decoder
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import seen
from dalle_jax.figures.plots import in_words, panels, plot_estimates, show_strip, strip
from dalle_jax.figures.rows import mean, select
from dalle_jax.metrics import oracle
from dalle_jax.sweeps.grid import Sweep

SCALES = {"tiny": ("quickstart", 40), "small": ("quickstart", 256)}  # config, latents
PAPER = ("clip", "decoder")  # of configs/dalle2
TIMES = (1.0, 0.75, 0.5, 0.25)  # at which x_t is shared
DRAWN, STEPS, SEED = 5, 20, 0
KINDS = ("background", "place", "size", "color", "shape")


def measure(workdir, num_captions) -> Measured:
    """Of each x_t the share of pairs of its samples that agree, and the first one's samples."""
    decoder, rows, pictures = open_decoder(workdir, num_captions), [], []
    schedule = decoder.stage.schedule
    noise = np.random.default_rng(SEED).normal(size=decoder.x_0.shape)
    for t in TIMES:
        x_t = np.float32(schedule.alpha(t) * decoder.x_0 + schedule.sigma(t) * noise)
        x_t = repeat(x_t, "n h w c -> (n d) h w c", d=DRAWN)
        images = decoder.draw_from(x_t, t, steps=STEPS, sampler="ddpm", seed=SEED)
        images = images.reshape(num_captions, DRAWN, *images.shape[1:])
        pictures.append(images[0])
        for i, group in enumerate(images):
            read = [(oracle.read_scene(image).background, seen(image)) for image in group]
            for kind in KINDS:
                agree = np.mean([alike(kind, *pair) for pair in combinations(read, 2)])
                rows.append({"metric": kind, "t": t, "latent": i, "value": float(agree)})
    return Measured(rows, {"drawn": strip(np.stack(pictures))}, SEED)


def alike(kind, a, b) -> bool:
    """Whether two samples agree in a kind; in what an object is, only if both show one."""
    if kind == "background":
        return a[0] == b[0]
    return None not in (a[1], b[1]) and getattr(a[1], kind) == getattr(b[1], kind)


def agreement(rows, kind, t):
    """[latents]."""
    return np.array([row["value"] for row in select(rows, kind, t=t)])


def draw(rows, images):
    """The samples of one x_t, a row a time, beside how often two agree."""
    figure, (panel, axes) = panels(1, 1, size=(10, 3.8))
    show_strip(panel, images["drawn"], range(1, DRAWN + 1), [f"t = {t:g}" for t in TIMES])
    panel.set(xlabel="samples of one $x_t$")
    for i, kind in enumerate(KINDS):
        found = {t + 0.012 * (i - 2): mean(agreement(rows, kind, t), "latents") for t in TIMES}
        plot_estimates(axes, found, unit=100, label=in_words(kind))
    axes.set(xlabel="t at which $x_t$ is shared", ylabel="pairs of samples that agree / %")
    axes.set(xticks=TIMES, xlim=(1.08, 0.18), ylim=(-3, 103))
    axes.legend(frameon=False)
    return figure


def claims(rows):
    """Colour, which is settled before shape, on the same latents."""
    gained = {kind: agreement(rows, kind, 0.5) - agreement(rows, kind, 1.0) for kind in KINDS}
    left = agreement(rows, "color", 0.5) - agreement(rows, "shape", 0.5)
    more = {"above": 0, "unit": "of the pairs more", "published": "in pictures"}
    gain, lead = (mean(values, "latents, paired") for values in (gained["color"], left))
    return [
        Claim("Samples that share x_t at t = 0.5 agree in colour more than at 1.", gain, **more),
        Claim("At t = 0.5 they agree in colour more than in shape.", lead, **more),
    ]


def get_figure(scale: str) -> Figure:
    """One decoder."""
    config, num_latents = SCALES[scale]
    sweep = Sweep(config=f"configs/{config}.py", points=[{}], evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=num_latents)
