"""DALL-E 2's decoder at 64 px: 3.5 billion parameters (Table 3, column "64")."""

from dalle_jax.configs.dalle2.clip import clip
from ml_collections import ConfigDict

from dalle_jax.configs import dalle2, unclip_decoder


def get_config() -> ConfigDict:
    """CLIP and the decoder of its embeddings."""
    config = dalle2.system("clip", "decoder")
    config.clip = clip()
    config.decoder = decoder()
    return config


def decoder() -> ConfigDict:
    """GLIDE's U-Net and text transformer, of which the text takes 1.3 billion parameters.

    Embeddings are dropped as §2.1 has it, 10 %; §5.1 and figure 8 say 5 %. It predicts eps with a
    learned variance, as GLIDE and ADM do.
    """
    config = unclip_decoder.decoder()
    config.model.dtype = "bfloat16"
    config.model.scan_blocks = True
    config.model.image_size = 64
    config.model.text = ConfigDict({"width": 2048, "depth": 24, "num_heads": 32})
    config.model.unet.channels = 512
    config.model.unet.channel_mult = (1, 2, 3, 4)
    config.model.unet.num_res_blocks = 3
    config.model.unet.attention_resolutions = (32, 16, 8)
    config.model.unet.head_channels = 64
    config.model.unet.patch_size = 1
    config.model.unet.norm_groups = 32
    config.model.unet.dropout = 0.1

    config.diffusion.num_timesteps = 1000
    config.diffusion.learned_variance = True
    config.loss.target = "eps"
    config.loss.log_normal_times = ()

    config.train = dalle2.train(steps=800_000, batch_size=2048, learning_rate=1.2e-4)
    config.sample = ConfigDict()
    config.sample.sampler = "ddpm"
    config.sample.variance = "learned"
    config.sample.num_inference_steps = 250
    config.sample.spacing = "linspace"  # strided as in Improved DDPM
    config.sample.guidance_scale = 1.25  # that of Table 2
    return config
