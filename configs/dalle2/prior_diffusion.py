"""DALL-E 2's diffusion prior (Table 3): 1.22 billion parameters, which the paper calls "1B"."""

from dalle_jax.configs.dalle2.clip import clip
from ml_collections import ConfigDict

from dalle_jax.configs import dalle2, unclip


def get_config() -> ConfigDict:
    """CLIP and the prior."""
    config = dalle2.system("clip", "prior")
    config.clip = clip()
    config.prior = prior()
    return config


def prior() -> ConfigDict:
    """Within 10 % of 1 billion it can't be: see its one transformer.

    Table 3 lists it as a text encoder of context 256, width 2048, depth 24 and 32 heads, whose
    blocks alone hold 24 · 12 · 2048² = 1.21 billion. It reads the 256 encoded tokens and, in the
    same sequence, the vectors of §2.2. The 64 strided steps are the paper's; their variance is
    DDPM's smaller one, not that of Analytic-DPM.
    """
    config = unclip.prior()
    config.kind = "diffusion"
    config.model.dtype = "bfloat16"
    config.model.scan_blocks = True
    config.model.text = ConfigDict({"width": 2048, "depth": 24, "num_heads": 32})
    config.diffusion.num_timesteps = 1000
    config.loss.text_dropout = 0.1
    config.train = dalle2.train(
        steps=600_000, batch_size=4096, learning_rate=1.1e-4, b2=0.96, eps=1e-6, weight_decay=0.06
    )
    config.sample.sampler = "ddpm"
    config.sample.num_inference_steps = 64
    return config
