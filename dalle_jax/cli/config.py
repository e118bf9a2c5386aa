"""The former module of `dalle_jax.config.load`, importable for one release."""

from dalle_jax.config.load import PREFIX, load_config

__all__ = ["PREFIX", "load_config"]
