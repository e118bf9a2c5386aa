"""The whole of unCLIP on one-object captioned shapes: 32 px from the decoder, 64 px upsampled."""

from ml_collections import ConfigDict

from dalle_jax.configs import base, unclip, unclip_decoder


def get_config() -> ConfigDict:
    """CLIP, prior, decoder and upsampler on drawings of 64 px; `joint` continues them."""
    config = base.get_config()
    config.stages = ("clip", "prior", "decoder", "upsampler", "joint")
    config.data.image_size = 64
    config.clip = unclip.clip()
    config.prior = unclip.prior()
    config.decoder = unclip_decoder.decoder()
    config.upsampler = unclip_decoder.upsampler()
    config.joint = unclip_decoder.joint()
    return config
