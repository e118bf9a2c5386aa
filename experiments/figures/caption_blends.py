"""DALL-E 3, figures 4 and 5: descriptive captions train better models than short and web captions.

Betker et al. 2023. Decoders trained on captions as the web writes them, on short and on descriptive
ones with a rest of the web's, all asked to draw held-out scenes by their descriptive captions and
by the web's, the paper's original ones. Instead of CLIP's score, the oracle counts the share of
what a caption states that is correct, of original ones the colour and shape they name.
"""

import numpy as np

from dalle_jax.figures.captions import original_row
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import score_row
from dalle_jax.figures.plots import in_words, panels, plot_named
from dalle_jax.figures.rows import BY_CAPTION, difference, find, num_images, select
from dalle_jax.sweeps.grid import Sweep, product

# Config, steps of training, captions measured on.
SCALES = {"tiny": ("sketch", 1500, 512), "small": ("shapes", 10_000, 2048)}
PAPER = ("clip", "decoder")  # of configs/dalle2
MAX_LENGTH = 64  # tokens: enough for words that a tokenizer of web captions has never seen
SEED = 0
STATEMENTS = ("color", "size", "background", "shape", "place")  # a descriptive caption's
# Label: shares. The kind that is named first is that of the held-out captions.
BLENDS = {"web": "descriptive:0,alt:1", "95 % short": "descriptive:0,alt:0.05,short:0.95"} | {
    f"{p} % descriptive": f"descriptive:{p / 100},alt:{1 - p / 100:.2f}" for p in (65, 80, 90, 95)
}
BEST = "95 % descriptive"
CLAIMED = (  # of which captions, against which blend, published
    ("statements", "web", "CLIP scores from 31.0 to 33.5 on descriptive captions, its own highest"),
    ("statements", "95 % short", "the same figure, short between the two"),
    ("original", "web", "CLIP scores from 25.8 to 27.2 on original captions, its own highest"),
    ("original", "65 % descriptive", "CLIP scores from 29.1 to 29.8; 65 % far behind"),
)


def measure(workdir, num_captions) -> Measured:
    """How much of what original captions state is correct in images sampled from them."""
    return Measured([original_row(workdir, num_captions, seed=SEED)], seed=SEED)


def row_of(rows, metric, label):
    """Of one blend; "statements" is the share of all that each descriptive caption states."""
    if metric != "statements":
        return find(rows, metric, captions=BLENDS[label])
    found = [row_of(rows, f"oracle/{kind}", label) for kind in STATEMENTS]
    if not all(row is not None and BY_CAPTION in row for row in found):
        return None
    scores = np.mean([row[BY_CAPTION] for row in found], axis=0)[:, 0]
    return score_row(metric, scores, runs=found[0]["runs"])


def draw(rows, images):
    """What is correct of either kind of captions, by what was trained on."""
    figure, (left, right) = panels(1.2, 1, size=(12.5, 4.4), sharey=True)
    at = lambda i: 0.1 * (i - 2.5)
    kinds = {f"oracle/{kind}": in_words(kind) for kind in STATEMENTS}
    series = {kind: (left, word, at(i)) for i, (kind, word) in enumerate(kinds.items())}
    series |= {"statements": (left, "mean of all", 0.25), "original": (right, "what they name", 0)}
    for metric, (axes, label, shift) in series.items():
        found = {blend: row_of(rows, metric, blend) for blend in BLENDS}
        style = {} if metric in kinds else {"color": "k", "marker": "D"}
        plot_named(axes, found, 100, shift, label=label, **style)
        axes.set(xlabel="captions trained on, the rest original", ylim=(-3, 103))
        axes.legend(frameon=False, fontsize=8)
    left.set(title=f"sampled from {num_images(rows)} descriptive captions")
    left.set(ylabel="correct statements of captions / %")
    right.set(title=f"sampled from {num_images(select(rows, 'original'))} original captions")
    return figure


def claims(rows):
    """The most descriptive blend against the others, by either kind of captions."""
    kinds = {"statements": "descriptive", "original": "original"}
    return [
        Claim(
            f"Trained on {BEST}, more of what {kinds[of]} captions state is right than on {other}.",
            difference(row_of(rows, of, other), row_of(rows, of, BEST)),
            above=0,
            unit="of the statements more",
            published=published,
            one_training="descriptive" in other,  # blends of these differ by chance: see the note
        )
        for of, other, published in CLAIMED
    ]


def get_figure(scale: str) -> Figure:
    """One training a blend."""
    config, steps, captions = SCALES[scale]
    points = product(("data.captions", BLENDS.values()))
    overrides = {"decoder.train.steps": steps, "tokenizer.max_length": MAX_LENGTH}
    evaluation = {"n": captions, "metrics": "oracle"}
    sweep = Sweep(f"configs/{config}.py", points, (), overrides, evaluation)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=captions)
