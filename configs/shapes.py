"""One and two objects with relations at 32 px: two hours of one CPU core."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """`base` with a deeper text transformer, larger batches and a longer training."""
    config = base.get_config()
    config.data.source = "captioned_shapes/pairs"
    # What is left of what is hardly learned from short captions alone; the descriptive ones say
    # where each object is, which is a step on the way.
    config.data.captions = "short:0.6,descriptive:0.4"
    config.tokenizer.max_length = 40
    config.decoder.model.text = ConfigDict({"width": 128, "depth": 3, "num_heads": 4})
    # Where an object is can be seen in the noise up to sigma/alpha = e^3; a relation is therefore
    # learned from more noise than that alone.
    config.decoder.loss.log_normal_times = (2.0, 1.8)
    config.decoder.train.steps = 9_000
    config.decoder.train.batch_size = 32
    config.decoder.train.ema_decay = 0.999
    return config
