"""The quickstart at 24 px with fewer channels, in half the time: for ablations that train many.

    dalle-jax prepare captioned_shapes/easy --resolution=24

24 px are the fewest that the oracle reads.
"""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """`base` on smaller images with a narrower U-Net."""
    config = base.get_config()
    config.data.image_size = 24
    config.decoder.model.unet.channels = 32
    config.decoder.model.unet.attention_resolutions = (6, 3)
    config.decoder.train.steps = 3000
    return config
