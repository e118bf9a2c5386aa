"""unCLIP at 24 px with fewer channels and shorter trainings: for ablations that train many.

dalle-jax prepare captioned_shapes/easy --resolution=24
"""

from ml_collections import ConfigDict

from dalle_jax.configs import sketch, unclip, unclip_decoder


def get_config() -> ConfigDict:
    """CLIP, prior and a decoder as narrow as `sketch`'s, without upsamplers."""
    config = sketch.get_config()
    config.stages = ("clip", "prior", "decoder")
    config.clip, config.prior = unclip.clip(), unclip.prior()
    config.clip.model.image_size = 24
    config.clip.train.steps = 600
    config.prior.train.steps, config.prior.train.batch_size = 1000, 64
    unet = config.decoder.model.unet
    config.decoder = unclip_decoder.decoder()
    config.decoder.model.image_size = 24
    config.decoder.model.unet = unet
    config.decoder.train.steps = 3000
    return config
