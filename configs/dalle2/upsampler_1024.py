"""DALL-E 2's second upsampler, 256 → 1024 px: 300 million parameters (Table 3, "256 → 1024")."""

from dalle_jax.configs.dalle2 import upsampler_256
from ml_collections import ConfigDict

from dalle_jax.configs import dalle2


def get_config() -> ConfigDict:
    """Only the second upsampler, which has no upstream stage."""
    config = dalle2.system("upsampler_1024")
    config.upsampler_1024 = upsampler()
    return config


def upsampler() -> ConfigDict:
    """The first upsampler's kind, narrower and deeper, on a linear schedule and BSR degradation.

    The paper does not give the degradation's ranges. Noise and JPEG's quality are those of BSR's
    authors; blurs are theirs in pixels of the small image, a quarter of the large one's.
    """
    config = upsampler_256.upsampler()
    config.data.image_size = 1024
    config.model.low_res_size = 256
    config.model.unet.channels = 192
    config.model.unet.channel_mult = (1, 1, 2, 2, 4, 4)
    config.model.unet.num_res_blocks = 2
    config.model.unet.dropout = 0.0
    config.diffusion.schedule = "linear"
    config.loss.crop_size = 256
    config.loss.degradation = ConfigDict(
        {
            "name": "bsr",
            "kernel_size": 7,
            "sigma": (0.025, 0.7),
            "scale": (0.5, 1.0),
            "noise": (2.0, 25.0),
            "quality": (30.0, 95.0),
        }
    )
    config.train = dalle2.train(steps=1_000_000, batch_size=512, learning_rate=1.0e-4)
    config.sample.num_inference_steps = 15
    config.sample.spacing = "trailing"
    return config
