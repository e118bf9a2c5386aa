"""One and two objects with relations at 32 px: for hours of two CPU cores, or minutes of a GPU."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """`base` with twice the width, longer captions and a longer training."""
    config = base.get_config()
    config.data.source = "captioned_shapes/pairs"
    config.tokenizer.max_length = 16
    config.decoder.model.unet.channels = 64
    config.decoder.model.unet.num_res_blocks = 2
    config.decoder.train.steps = 30_000
    config.decoder.train.batch_size = 32
    config.decoder.train.ema_decay = 0.999
    config.decoder.train.validate_every = 2000
    config.decoder.train.preview_every = 2000
    return config
