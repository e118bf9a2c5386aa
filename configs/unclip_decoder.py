"""unCLIP's decoder at 32 px, its upsampler to 64 px, and joint training, for two CPU cores.

Sections for the configs of whole systems; these have data of 64 px, of which the decoder makes 32.
"""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def decoder() -> ConfigDict:
    """`base`'s decoder, conditioned on image embeddings too."""
    config = base.decoder()
    config.model.image_size = 32
    config.model.image_embedding.num_tokens = 4
    config.loss.caption_dropout = 0.5
    return config


def upsampler() -> ConfigDict:
    """From 32 to 64 px with 1 M parameters, on crops of half the side."""
    config = ConfigDict()
    config.data = ConfigDict({"image_size": 64})
    config.model = ConfigDict()
    config.model.dtype = "float32"
    config.model.low_res_size = 32  # pixels
    config.model.resize = "bicubic"  # of the small image to the large one's size
    config.model.unet = ConfigDict()
    config.model.unet.channels = 32
    config.model.unet.channel_mult = (1, 2, 3)
    config.model.unet.num_res_blocks = 1
    config.model.unet.patch_size = 2
    config.model.unet.norm_groups = 8
    config.model.unet.dropout = 0.0

    config.diffusion = ConfigDict()
    config.diffusion.schedule = "cosine"
    config.diffusion.num_timesteps = 0
    config.diffusion.learned_variance = False
    config.loss = ConfigDict()
    config.loss.target = "v"
    config.loss.weighting = "simple"
    config.loss.log_normal_times = ()
    config.loss.crop_size = 32  # pixels of the large image
    config.loss.degradation = ConfigDict(  # of the small image: blur, bsr or none, and its options
        {"name": "blur", "kernel_size": 3, "sigma": (0.4, 0.6), "share": 0.5}
    )

    config.train = base.train()
    config.train.steps = 3000
    config.sample = ConfigDict()
    config.sample.sampler = "unipc"
    config.sample.num_inference_steps = 10
    return config


def joint() -> ConfigDict:
    """Prior and decoder together, from their trained weights, at a tenth of the learning rate."""
    config = ConfigDict()
    config.loss = ConfigDict()
    config.loss.stop_gradient = False  # whether the decoder's loss stops at the embedding
    config.prior_sampling = ConfigDict()  # for the samples that it trains on: few steps, no choice
    config.prior_sampling.num_candidates = 1
    config.prior_sampling.guidance_scale = 1.0
    config.prior_sampling.sampler = "unipc"
    config.prior_sampling.num_inference_steps = 4
    config.prior_sampling.dot_percentile = 0.5

    config.train = base.train()
    config.train.steps = 1000
    config.train.optimizer.learning_rate = 4e-4
    config.sample = base.decoder().sample
    return config
