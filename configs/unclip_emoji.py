"""The whole of unCLIP on emoji."""

from ml_collections import ConfigDict

from dalle_jax.configs import unclip_shapes


def get_config() -> ConfigDict:
    """`unclip_shapes` with a larger vocabulary, and dropout against the few images."""
    config = unclip_shapes.get_config()
    config.data.source = "emoji"
    config.tokenizer.vocab_size = 2048
    config.tokenizer.max_length = 16
    config.decoder.model.unet.dropout = 0.1
    config.decoder.train.steps = 12_000
    return config
