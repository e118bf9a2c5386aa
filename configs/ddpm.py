"""DDPM's chain on the drawings of `sketch`: 1,000 steps of the linear schedule, eps, uniform t."""

from ml_collections import ConfigDict

from dalle_jax.configs import sketch


def get_config() -> ConfigDict:
    """`sketch`, trained and sampled as by Ho et al. 2020 (2006.11239), without guidance."""
    config = sketch.get_config()
    decoder = config.decoder
    decoder.diffusion.schedule = "linear"
    decoder.diffusion.num_timesteps = 1000
    decoder.loss.target = "eps"
    decoder.loss.weighting = "simple"
    decoder.loss.log_normal_times = ()
    decoder.sample.sampler = "ddpm"
    decoder.sample.num_inference_steps = 100
    decoder.sample.guidance_scale = 1.0
    return config
