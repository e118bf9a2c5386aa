"""DALL-E 2's autoregressive prior (Table 3): 2.2 billion parameters; the paper says "1B"."""

from dalle_jax.configs.dalle2 import prior_diffusion
from dalle_jax.configs.dalle2.clip import clip
from ml_collections import ConfigDict

from dalle_jax.configs import dalle2


def get_config() -> ConfigDict:
    """CLIP and the prior."""
    config = dalle2.system("clip", "prior")
    config.clip = clip()
    config.prior = prior()
    return config


def prior() -> ConfigDict:
    """Within 10 % of 1 billion it can't be: see its two transformers.

    Table 3 lists a text encoder of width 2048, depth 24 and 32 heads, whose blocks hold
    24 · 12 · 2048² = 1.21 billion, and a latent decoder of width 1664, depth 24 and 26 heads with
    24 · 12 · 1664² = 0.80 billion. The "1B" can mean only one of them: the latent decoder, with
    what projects the text into each of its blocks, has 0.97 billion. The latent decoder's context
    of 384 is 319 (dot product and buckets) rounded up to whole 128s; here it has the 319.
    """
    config = prior_diffusion.prior()
    config.kind = "autoregressive"
    config.model.latent = ConfigDict({"width": 1664, "depth": 24, "num_heads": 26})
    config.autoregressive.num_dimensions = 319  # of 1024
    config.autoregressive.num_fitted = 100_000
    config.train = dalle2.train(
        steps=1_000_000,
        batch_size=4096,
        learning_rate=1.6e-4,
        b2=0.91,
        eps=1e-10,
        weight_decay=0.04,
        ema_decay=0.999,
    )
    return config
