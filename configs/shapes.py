"""One and two objects with relations at 32 px: eighty minutes of one CPU core."""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """`base` with a deeper text transformer, larger batches and a longer training."""
    config = base.get_config()
    config.data.source = "captioned_shapes/pairs"
    config.decoder.model.text = ConfigDict({"width": 128, "depth": 3, "num_heads": 4})
    config.decoder.model.layout.size = 8  # without it relations are not learned
    # Positions of objects are visible up to sigma / alpha = e^3: more noise than base's.
    config.decoder.loss.log_normal_times = (1.0, 1.3)
    config.decoder.train.steps = 10_000
    # Relations are a weak signal: larger batches and smaller steps bring it out of the noise.
    config.decoder.train.batch_size = 32
    config.decoder.train.optimizer.learning_rate = 2e-3
    config.decoder.train.ema_decay = 0.999
    # Noise on the way heals shapes, and backgrounds, which are settled where there is most noise,
    # come out evenly if the steps are even in log-SNR.
    config.decoder.sample.sampler = "ddpm"
    config.decoder.sample.num_inference_steps = 30
    config.decoder.sample.spacing = "logsnr"
    return config
