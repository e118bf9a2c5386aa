"""The smallest unCLIP: each stage takes seconds. For tests."""

from ml_collections import ConfigDict

from dalle_jax.configs import tiny, unclip_shapes


def get_config() -> ConfigDict:
    """`unclip_shapes` at 12 and 24 px, ten steps a stage."""
    config, small = unclip_shapes.get_config(), tiny.get_config()
    config.data.image_size = 24
    config.clip.model.image_size, config.clip.model.embedding_width = 12, 12
    for name in ("image", "text"):
        config.clip.model[name].width = 16
        config.clip.model[name].depth = 1
        config.clip.model[name].num_heads = 2
    for name in ("text", "latent"):
        config.prior.model[name] = ConfigDict({"width": 16, "depth": 1, "num_heads": 2})
    config.prior.autoregressive.num_dimensions = 4
    config.prior.autoregressive.num_buckets = 8
    config.prior.autoregressive.num_fitted = 32
    config.decoder.model.image_size = 12
    config.decoder.model.text = small.decoder.model.text
    config.decoder.model.unet = small.decoder.model.unet.copy_and_resolve_references()
    config.decoder.model.unet.attention_resolutions = (6,)
    unet = config.upsampler.model.unet
    unet.channels, unet.channel_mult, unet.norm_groups = 8, (1,), 4
    config.upsampler.data.image_size = 24
    config.upsampler.model.low_res_size = 12
    config.upsampler.loss.crop_size = 12
    for name in config.stages:
        config[name].train = small.decoder.train.copy_and_resolve_references()
        config[name].train.steps = 10
        if "sample" in config[name]:
            config[name].sample.num_inference_steps = 2
    return config
