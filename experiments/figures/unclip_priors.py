"""unCLIP, tables 1 and 2: a diffusion prior does as well as an autoregressive one, or better.

Ramesh et al. 2022 (2204.06125), §2.2. Two priors of as many parameters, trained as long, before one
CLIP and one decoder; of each the best of n embeddings by its dot product with the caption's own is
used (the paper takes the best of 2). Cosines are with the embeddings of the captions' real images.
Where people judge in the paper, the oracle does here.
"""

import functools

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import factored, judged_rows
from dalle_jax.figures.plots import METRIC_LABELS, plot_metrics
from dalle_jax.figures.rows import difference, find
from dalle_jax.figures.unclip import SEED, open_chain
from dalle_jax.metrics.embeddings import prior_cosines
from dalle_jax.sweeps.grid import Sweep, product

# Configs of the two priors, captions measured on, numbers of candidates.
SCALES = {
    "tiny": (("unclip_shapes", "unclip_shapes_ar"), 512, (1, 2, 8)),
    "small": (("unclip_shapes", "unclip_shapes_ar"), 2048, (1, 2, 4, 8, 16, 32)),
}
PAPER = ("clip", "prior_diffusion", "prior_ar", "decoder")  # of configs/dalle2
DIFFUSION, AUTOREGRESSIVE = "diffusion", "autoregressive"
METRICS = {**METRIC_LABELS, "cosine_image": (1, "cosine with the true embedding")}  # unit, label
PUBLISHED = 2  # candidates


def measure(workdir, num_captions, extractor, counts) -> Measured:
    """What is sampled from the best of each number of candidates."""
    chain = open_chain(workdir, num_captions)
    true, text = chain.of_images(chain.images), chain.of_captions(chain.captions)
    reals, rows = factored(chain.images, extractor), []
    kind = chain.pipe.system.stages["prior"].kind
    for count in counts:
        where = {"kind": kind, "num_candidates": count}
        drawn = chain.of_prior(num_candidates=count)
        cosine = prior_cosines(drawn, true, text)["cosine_image"]
        images = chain.draw(drawn, chain.captions)
        rows.append({"metric": "cosine_image", **where, **cosine._asdict()})
        rows += judged_rows(chain.captions, images, reals, extractor, **where)
    return Measured(rows, seed=SEED)


def draw(rows, images):
    """Each metric by the number of candidates."""
    label = "candidates, of which the best is used"
    return plot_metrics(rows, METRICS, over="num_candidates", by="kind", label=label)


def claims(rows):
    """The one prior against the other, and the best of two against one."""
    at = lambda metric, kind, count=PUBLISHED: find(rows, metric, kind=kind, num_candidates=count)
    return [
        Claim(
            "With the diffusion prior's embeddings images are nearer to real ones.",
            difference(at("FD", DIFFUSION), at("FD", AUTOREGRESSIVE)),
            above=0,
            unit="of Fréchet distance nearer",
            published="FID 10.39 against 10.63 (table 2)",
        ),
        Claim(
            "With the diffusion prior's embeddings more captions are right.",
            difference(at("oracle/caption", AUTOREGRESSIVE), at("oracle/caption", DIFFUSION)),
            above=0,
            unit="of all captions more",
            published="45.3 % against 41.1 % preferred to GLIDE for the caption (table 1)",
        ),
        Claim(
            "The best of two embeddings of the diffusion prior gets more captions right than one.",
            difference(at("oracle/caption", DIFFUSION, 1), at("oracle/caption", DIFFUSION)),
            above=0,
            unit="of all captions more",
        ),
    ]


def get_figure(scale: str) -> Figure:
    """Two priors of one system, not its upsampler."""
    configs, num_captions, counts = SCALES[scale]
    points, stages = product(("config", configs)), ("clip", "prior", "decoder")
    sweep = Sweep(f"configs/{configs[0]}.py", points, stages, evaluation=None)
    how = functools.partial(measure, counts=counts)
    return Figure(draw, claims, sweep, how, "configs/features.py", num_captions)
