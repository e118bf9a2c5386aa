"""DDPM, table 2: predicting the noise, with the simple loss and a fixed variance, draws best.

Ho et al. 2020 (2006.11239). Short trainings of one decoder in a chain of 1,000 steps of the linear
schedule, which predict the mean μ̃ or the noise ε, by the variational bound L, with a fixed or a
learned variance, or by the squared error of what is predicted; all draw the same captions, without
guidance, from the same noise. Distances are on a classifier's features.
"""

from dalle_jax.figures.figure import Claim, Figure
from dalle_jax.figures.plots import METRIC_LABELS, panels, plot_named
from dalle_jax.figures.rows import difference, find, num_images
from dalle_jax.sweeps.grid import Sweep, zip_

# Config, steps of training, captions measured on.
SCALES = {"tiny": ("ddpm", 1000, 256), "small": ("ddpm", 20_000, 2048)}
PAPER = ("clip", "decoder")  # of configs/dalle2
# Label: target, weighting, whether Σ is learned, published FID on CIFAR-10; None is "unstable".
ROWS = {
    "μ̃, L\nlearned Σ": ("mean", "bound", True, 23.69),
    "μ̃, L\nfixed Σ": ("mean", "bound", False, 13.22),
    "μ̃, ‖·‖²\nfixed Σ": ("mean", "simple", False, None),
    "ε, L\nlearned Σ": ("eps", "bound", True, None),
    "ε, L\nfixed Σ": ("eps", "bound", False, 13.51),
    "ε, ‖·‖²\nfixed Σ": ("eps", "simple", False, 3.17),
}
OURS = "ε, ‖·‖²\nfixed Σ"


def row_of(rows, metric, label):
    """What one line of the table came to."""
    target, weighting, learned, _ = ROWS[label]
    where = {"target": target, "weighting": weighting, "learned_variance": learned}
    return find(rows, metric, **where)


def draw(rows, images):
    """Distance, with the published one, and correct colours, by line of the table."""
    figure, (far, right) = panels(1, 1)
    color = (100, f"colours right / % of {num_images(rows)} captions")
    for axes, metric, (unit, label) in (
        (far, "FD", METRIC_LABELS["FD"]),
        (right, "oracle/color", color),
    ):
        plot_named(axes, {name: row_of(rows, metric, name) for name in ROWS}, unit)
        axes.set(xlabel="what is predicted, by which loss", ylabel=label)
    published = {i: row[3] for i, row in enumerate(ROWS.values()) if row[3] is not None}
    there = far.twinx()
    there.plot(published.keys(), published.values(), "x", color="tab:gray")
    there.set_ylabel("published FID, CIFAR-10 (× where stable)", color="tab:gray")
    there.set_ylim(0)
    far.set_ylim(0)
    return figure


def claims(rows):
    """The paper's choice against the other lines."""
    others = {
        "μ̃, L\nlearned Σ": "FID 3.17 against 23.69",
        "μ̃, L\nfixed Σ": "FID 3.17 against 13.22",
        "μ̃, ‖·‖²\nfixed Σ": "unstable",
        "ε, L\nlearned Σ": "unstable",
        "ε, L\nfixed Σ": "FID 3.17 against 13.51",
    }
    return [
        Claim(
            f"ε by its squared error is nearer to real images than {label.replace(chr(10), ', ')}.",
            difference(row_of(rows, "FD", OURS), row_of(rows, "FD", label)),
            above=0,
            unit="of Fréchet distance nearer",
            published=published,
        )
        for label, published in others.items()
    ]


def get_figure(scale: str) -> Figure:
    """Target × loss × variance, as in the table."""
    config, steps, captions = SCALES[scale]
    targets, weightings, learned, _ = zip(*ROWS.values())
    sweep = Sweep(
        config=f"configs/{config}.py",
        points=zip_(
            ("decoder.loss.target", targets),
            ("decoder.loss.weighting", weightings),
            ("decoder.diffusion.learned_variance", learned),
            ("decoder.sample.variance", ["learned" if one else "fixed_large" for one in learned]),
        ),
        overrides={"decoder.train.steps": steps},
        evaluation={"n": captions, "metrics": "oracle,fid"},
    )
    return Figure(draw, claims, sweep=sweep, features="configs/features.py")
