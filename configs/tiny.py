"""The smallest whole system: two steps and a sample take seconds. For tests."""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """`base` at 24 px and a hundredth of its parameters."""
    config = base.get_config()
    config.data.image_size = 24
    config.decoder.model.text = ConfigDict({"width": 16, "depth": 1, "num_heads": 2})
    unet = config.decoder.model.unet
    unet.channels, unet.num_res_blocks, unet.norm_groups, unet.head_channels = 8, 1, 4, 8
    unet.channel_mult, unet.attention_resolutions = (1,), (12,)
    train = config.decoder.train
    train.steps, train.batch_size, train.optimizer.warmup_steps = 20, 8, 5
    train.log_every, train.validate_every, train.preview_every = 5, 10, 10
    train.checkpoint_every, train.validation_images = 10, 16
    config.decoder.sample.num_inference_steps = 4
    return config
