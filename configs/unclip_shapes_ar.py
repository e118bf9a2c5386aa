"""`unclip_shapes` with the autoregressive prior, at the diffusion prior's number of parameters."""

from ml_collections import ConfigDict

from dalle_jax.configs import unclip, unclip_shapes


def get_config() -> ConfigDict:
    """`unclip_shapes` with the other kind of prior."""
    config = unclip_shapes.get_config()
    config.prior = unclip.prior_autoregressive()
    config.joint.loss.stop_gradient = True  # no gradient through sampled buckets
    return config
