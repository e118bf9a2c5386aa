"""Min-SNR, convergence: weighting the loss by min(SNR, 5) makes early training faster.

Hang et al. 2023 (2303.09556). Decoders that differ in what they predict and how noise levels are
weighted, stopped early, at uniform t as in the paper. The share of correct captions stands for
FID; all draw the same captions from the same noise.
"""

import matplotlib.pyplot as plt

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.plots import plot_series
from dalle_jax.figures.rows import difference, find, select, series
from dalle_jax.metrics.intervals import wilson
from dalle_jax.runs import open_run
from dalle_jax.sweeps.grid import Sweep, product
from dalle_jax.sweeps.progress import read_curves

# Config, steps of training, captions measured on at the end, steps between looks on the way.
SCALES = {
    "tiny": ("sketch", 1000, 512, 250),
    "small": ("shapes", 10_000, 2048, 1000),
}
PAPER = ("clip", "decoder")  # of configs/dalle2
TARGETS = ("eps", "x0", "v")
WEIGHTINGS = {"simple": ("unweighted", "--"), "min_snr": ("min-SNR", "-")}  # label, line
ON_THE_WAY = "evaluation/oracle/caption"
PUBLISHED = {  # FID of the U-Net after 200 thousand steps, without and with it
    "eps": "FID 7.32 against 8.55 after 200 thousand steps",
    "x0": "FID 7.99 against 25.93 after 200 thousand steps",
}


def measure(workdir) -> Measured:
    """What was logged on the way, with Wilson intervals."""
    rows, images = [], open_run(workdir / "decoder").config["decoder"]["train"]["evaluation_images"]
    for step, value in zip(*read_curves(workdir / "decoder").get(ON_THE_WAY, ((), ()))):
        low, high = wilson(round(value * images), images)
        head = {"metric": ON_THE_WAY, "step": step, "num_images": images}
        rows.append({**head, "value": value, "low": low, "high": high})
    return Measured(rows)


def settings_of(rows):
    """Target and weighting by point."""
    return {row["point"]: (row["target"], row["weighting"]) for row in rows if "target" in row}


def draw(rows, images):
    """A panel for each target."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
    for point, (target, weighting) in settings_of(rows).items():
        axes = panels[TARGETS.index(target)]
        found, (label, line) = series(rows, ON_THE_WAY, "step", point=point), WEIGHTINGS[weighting]
        plot_series(axes, found, unit=100, linestyle=line, label=label)
    for axes, target in zip(panels, TARGETS):
        axes.set(title=f"predicts {target}", xlabel="steps of training")
    images = max((row["num_images"] for row in select(rows, ON_THE_WAY)), default=0)
    panels[0].set_ylabel(f"% of {images} validation captions correct")
    panels[0].legend(frameon=False)
    return figure


def claims(rows):
    """At the last step, where the scores of single captions are stored."""
    at = lambda target, how: find(rows, "oracle/caption", target=target, weighting=how)
    return [
        Claim(
            f"Predicting {target}, min-SNR gets more captions right at the end.",
            difference(at(target, "simple"), at(target, "min_snr")),
            above=0,
            unit="of all captions more",
            published=PUBLISHED.get(target, ""),
        )
        for target in TARGETS
    ]


def get_figure(scale: str) -> Figure:
    """Target × weighting."""
    config, steps, captions, every = SCALES[scale]
    sweep = Sweep(
        config=f"configs/{config}.py",
        points=product(("decoder.loss.target", TARGETS), ("decoder.loss.weighting", WEIGHTINGS)),
        overrides={
            "decoder.train.steps": steps,
            "decoder.train.evaluate_every": every,
            "decoder.loss.log_normal_times": (),
        },
        evaluation={"n": captions, "metrics": "oracle"},
    )
    return Figure(draw, claims, sweep=sweep, measure=measure)
