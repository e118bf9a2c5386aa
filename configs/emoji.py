"""Emoji of the installed font with their English names at 32 px: forty minutes of a CPU core."""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """`base` with a larger vocabulary, a deeper text transformer and some dropout."""
    config = base.get_config()
    config.data.source = "emoji"
    config.data.max_shift = 1
    config.tokenizer.vocab_size = 2048
    config.tokenizer.max_length = 16
    config.decoder.model.text = ConfigDict({"width": 128, "depth": 3, "num_heads": 4})
    config.decoder.model.layout.size = 8
    config.decoder.model.unet.dropout = 0.1
    config.decoder.loss.log_normal_times = (1.0, 1.3)  # captions matter where noise hides the rest
    config.decoder.train.steps = 4_000
    config.decoder.train.batch_size = 32
    config.decoder.train.ema_decay = 0.999
    return config
