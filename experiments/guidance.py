"""Guidance, steps, sampler and weights of one trained decoder: which pays at which budget?

    dalle-jax sweep guidance --workdir=runs/sweeps --scale=tiny --reuse=runs/quickstart

Only sampling is swept, so the decoder is trained once, or taken over from `--reuse`. All points
sample the same captions from the same noise.
"""

from dalle_jax.sweeps.grid import Sweep, product

# Config, captions measured on, guidance scales, numbers of steps.
SCALES = {
    "tiny": ("quickstart", 128, (1.0, 2.0, 4.0), (5, 10)),
    "small": ("shapes", 2048, (1.0, 1.5, 2.0, 3.0, 4.0, 6.0), (5, 10, 20, 50)),
}


def get_sweep(scale: str) -> Sweep:
    """Guidance × steps × sampler × weights, averaged over training or as they are."""
    config, captions, guidance, steps = SCALES[scale]
    return Sweep(
        config=f"configs/{config}.py",
        points=product(
            ("decoder.sample.sampler", ["ddim", "unipc"]),
            ("decoder.sample.num_inference_steps", steps),
            ("decoder.sample.guidance_scale", guidance),
            ("decoder.sample.weights", ["ema", "raw"]),
        ),
        evaluation={"n": captions, "metrics": "oracle"},
    )
