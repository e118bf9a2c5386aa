"""unCLIP, figures 14 and 15: of two objects unCLIP mixes up more attributes than GLIDE.

Ramesh et al. 2022 (2204.06125). Two systems trained on scenes of one and two objects, unCLIP and a
decoder that reads only captions as GLIDE's does, both decoders for as many steps, sample held-out
captions of two objects of different colours and sizes; the oracle says whether each colour comes in
its own size, or in the other's (shapes, which the paper has, are learned late).
"""

from operator import ne

import numpy as np

from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import score_row, shown_rows
from dalle_jax.figures.plots import panels, plot_named, show_strip, strip
from dalle_jax.figures.rows import difference, find, num_images, select
from dalle_jax.metrics import oracle
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.sweeps.grid import Sweep

# Steps of each decoder's training, captions of two objects.
SCALES = {"tiny": (2500, 256), "small": (20_000, 1024)}
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
POINTS = ({"config": "unclip_sketch"}, {"config": "sketch"})
SYSTEMS = ("unCLIP", "GLIDE")
OUTCOMES = ("bound", "swapped")
COLUMNS, SEED = 8, 0  # pictures of each system


def measure(workdir, num_captions) -> Measured:
    """What becomes of the attributes in each image of one system, and the first images."""
    pipe = DallePipeline.from_pretrained(workdir, joint=False)
    system = SYSTEMS[0] if pipe.system.reads_embeddings else SYSTEMS[1]
    source = pipe.run.open_source("test")
    asked = {c: pairs_of(c) for c in (source[i]["caption"] for i in range(len(source)))}
    # Two objects of different colours and different sizes.
    two = [c for c, pairs in asked.items() if len(pairs) == 2 and all(map(ne, *pairs))]
    captions = two[:num_captions]
    images = pipe.generate(captions, sample_index=range(len(captions)), seed=SEED, until="decoder")
    found = np.array([outcome(image, asked[caption]) for image, caption in zip(images, captions)])
    rows = [score_row(name, (found == name).astype(float), system=system) for name in OUTCOMES]
    rows += shown_rows(captions[:COLUMNS], found == "bound", system=system)
    return Measured(rows, {system: strip(images[None, :COLUMNS])}, SEED)


def pairs_of(caption):
    """Colour and size of each object that a caption names."""
    told = [s.value for s in oracle.parse(caption) if s.kind in ("size", "color")]
    return list(zip(told[1::2], told[::2]))  # of each object the size is told first


def outcome(image, pairs):
    """Says "bound" if both objects are as asked for, "swapped" if each has the other's colour."""
    there = {(one.color, one.size) for one in oracle.read_scene(image).objects}
    (a, size_a), (b, size_b) = pairs
    if there >= set(pairs):
        return "bound"
    return "swapped" if there >= {(b, size_a), (a, size_b)} else "other"


def draw(rows, images):
    """Pictures, a row a system, beside what becomes of their attributes."""
    figure, (panel, axes) = panels(3, 1, size=(12, 3.8))
    by_system = {name.rpartition("/")[2]: picture for name, picture in images.items()}
    known = [system for system in SYSTEMS if system in by_system]
    captions = [row["caption"] for row in select(rows, "shown", system=known[0])]
    show_strip(panel, np.concatenate([by_system[system] for system in known]), captions, known)
    panel.tick_params(axis="x", labelsize=8)
    for name in OUTCOMES:
        found = {system: find(rows, name, system=system) for system in known}
        plot_named(axes, found, unit=100, label=f"colours {name}")
    axes.set(ylabel=f"% of {num_images(rows)} captions", ylim=(-3, 103))
    axes.legend(frameon=False)
    return figure


def claims(rows):
    """One system against the other."""
    more = {"above": 0, "unit": "of all captions more", "published": "in pictures"}
    of = {name: [find(rows, name, system=system) for system in SYSTEMS] for name in OUTCOMES}
    swapped, bound = difference(*of["swapped"][::-1]), difference(*of["bound"])
    bound_more = "GLIDE gives both objects their own more often."
    return [
        Claim("unCLIP gives objects each other's colours more often than GLIDE.", swapped, **more),
        Claim(bound_more, bound, **more, one_training=True),  # an earlier form came out otherwise
    ]


def get_figure(scale: str) -> Figure:
    """Two systems without upsamplers."""
    steps, captions = SCALES[scale]
    stages = ("clip", "prior", "decoder")
    overrides = {"data.source": "captioned_shapes/pairs", "decoder.train.steps": steps}
    sweep = Sweep("configs/unclip_sketch.py", POINTS, stages, overrides, evaluation=None)
    return Figure(draw, claims, sweep=sweep, measure=measure, num_captions=captions)
