"""One and two objects with relations at 32 px: two hours of one CPU core."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """`base` with a deeper text transformer, larger batches and a longer training."""
    config = base.get_config()
    config.data.source = "captioned_shapes/pairs"
    # What is left of what is hardly learned from short captions alone; the descriptive ones say
    # where each object is, which is a step on the way.
    config.data.captions = "short:0.5,descriptive:0.5"
    config.tokenizer.max_length = 48
    config.decoder.model.text = ConfigDict({"width": 128, "depth": 3, "num_heads": 4})
    config.decoder.loss.log_normal_times = (0.7, 1.1)  # more noise: there the layout is decided
    config.decoder.train.steps = 10_000
    config.decoder.train.batch_size = 32
    config.decoder.train.ema_decay = 0.999
    return config
