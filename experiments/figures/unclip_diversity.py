"""unCLIP, figures 9 and 11: guidance costs unCLIP less diversity and realism than GLIDE.

Ramesh et al. 2022 (2204.06125). Two systems trained on the same scenes, unCLIP and a decoder that
reads only captions as GLIDE's does, over scales of the decoder's guidance. Diversity is the
entropy of what captions leave open, background and place, as the oracle reads them; distances are
on a classifier's features. The sampler was chosen after a first look.
"""

import functools

import numpy as np

from dalle_jax.data.images import center_crop_resize
from dalle_jax.figures.decoder import held_out
from dalle_jax.figures.figure import Claim, Figure, Measured
from dalle_jax.figures.measures import entropy_row, factored, judged_rows
from dalle_jax.figures.plots import METRIC_LABELS, plot_metrics
from dalle_jax.figures.rows import difference_of_differences, find, select
from dalle_jax.metrics import oracle
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.sweeps.grid import Sweep, product

# Configs of unCLIP and GLIDE, captions measured on, guidance scales.
SCALES = {
    "tiny": (("unclip_shapes", "quickstart"), 512, (1.0, 2.0, 4.0, 8.0)),
    "small": (("unclip_shapes", "quickstart"), 2048, (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)),
}
PAPER = ("clip", "prior_diffusion", "decoder")  # of configs/dalle2
METRICS = {"diversity": (1, "entropy of background and place / bits"), **METRIC_LABELS}
SAMPLER = {"sampler": "ddpm", "num_inference_steps": 30, "spacing": "logsnr"}
SEED = 0


def measure(workdir, num_captions, extractor, scales) -> Measured:
    """One system at each scale of guidance."""
    pipe = DallePipeline.from_pretrained(workdir, joint=False)
    captions, true = held_out(pipe.run, num_captions)
    side = pipe.system.stages["decoder"].image_shape[0]
    reals = factored([center_crop_resize(image, side, "box") for image in true], extractor)
    rows, index = [], np.arange(num_captions)
    for scale in scales:
        how = {"system": "unCLIP" if pipe.system.reads_embeddings else "GLIDE", "scale": scale}
        drawn = {"sample_index": index, "seed": SEED, "guidance_scale": scale}
        images = pipe.generate(captions, **drawn, **SAMPLER)
        rows += judged_rows(captions, images, reals, extractor, **how)
        rows.append(entropy_row([left_open(image) for image in images], "diversity", **how))
    return Measured(rows, seed=SEED)


def left_open(image):
    """What a short caption does not say."""
    reading = oracle.read_scene(image)
    return reading.background, reading.objects[0].place if reading.objects else None


def draw(rows, images):
    """Each metric by guidance."""
    return plot_metrics(rows, METRICS, over="scale", by="system", label="guidance scale")


def claims(rows):
    """From no guidance to the largest."""
    scales = [row["scale"] for row in select(rows, "FD")]
    ends = [end(scales, default=float("nan")) for end in (min, max)]
    of = lambda system, metric: tuple(
        find(rows, metric, system=system, scale=scale) for scale in ends
    )
    return [
        Claim(
            f"From scale {ends[0]:g} to {ends[1]:g} GLIDE loses more diversity than unCLIP.",
            difference_of_differences(of("GLIDE", "diversity"), of("unCLIP", "diversity")),
            above=0,
            unit="bits more",
            published="for diversity people prefer unCLIP in 70.5 % of comparisons (table 1)",
        ),
        Claim(
            f"From scale {ends[0]:g} to {ends[1]:g} GLIDE goes further from real images.",
            difference_of_differences(of("unCLIP", "FD"), of("GLIDE", "FD")),
            above=0,
            unit="of Fréchet distance more",
            published="in curves (figure 11); at their best FID 12.24 against 10.39",
        ),
    ]


def get_figure(scale: str) -> Figure:
    """Two systems without upsamplers."""
    configs, num_captions, scales = SCALES[scale]
    points, stages = product(("config", configs)), ("clip", "prior", "decoder")
    sweep = Sweep(f"configs/{configs[0]}.py", points, stages, evaluation=None)
    how = functools.partial(measure, scales=scales)
    return Figure(draw, claims, sweep, how, "configs/features.py", num_captions)
