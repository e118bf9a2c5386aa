"""The quickstart: one-object captions at 32 px, on two CPU cores in about a quarter of an hour."""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """`base` is sized for the quickstart already."""
    return base.get_config()
