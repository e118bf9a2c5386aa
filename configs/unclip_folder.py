"""The whole of unCLIP on a folder of captioned pictures."""

from ml_collections import ConfigDict

from dalle_jax.configs import unclip_shapes


def get_config() -> ConfigDict:
    """`unclip_shapes` on `--config.data.source=folder:PATH`, with longer captions."""
    config = unclip_shapes.get_config()
    config.data.source = "folder:my_pictures"
    config.tokenizer.vocab_size = 4096
    config.tokenizer.max_length = 32
    return config
