"""DALL-E 2's first upsampler, 64 → 256 px: 700 million parameters (Table 3, column "64 → 256")."""

from ml_collections import ConfigDict

from dalle_jax.configs import dalle2


def get_config() -> ConfigDict:
    """Only the first upsampler, which has no upstream stage."""
    config = dalle2.system("upsampler_256")
    config.upsampler_256 = upsampler()
    return config


def upsampler() -> ConfigDict:
    """ADM's U-Net without attention, on crops of a quarter of the side.

    The small images are blurred with a kernel of 3 pixels and a deviation of 0.6 (appendix C).
    They are enlarged by GLIDE's bicubic; unCLIP names no filter.
    """
    config = ConfigDict()
    config.data = ConfigDict({"image_size": 256})
    config.model = ConfigDict()
    config.model.dtype = "bfloat16"
    config.model.low_res_size = 64
    config.model.resize = "bicubic"
    config.model.unet = ConfigDict()
    config.model.unet.channels = 320
    config.model.unet.channel_mult = (1, 2, 3, 4)
    config.model.unet.num_res_blocks = 3
    config.model.unet.patch_size = 1
    config.model.unet.norm_groups = 32
    config.model.unet.dropout = 0.1

    config.diffusion = ConfigDict()
    config.diffusion.schedule = "cosine"
    config.diffusion.num_timesteps = 1000
    config.diffusion.learned_variance = False
    config.loss = ConfigDict()
    config.loss.target = "eps"
    config.loss.weighting = "simple"
    config.loss.log_normal_times = ()
    config.loss.crop_size = 64
    config.loss.degradation = ConfigDict(
        {"name": "blur", "kernel_size": 3, "sigma": (0.6, 0.6), "share": 1.0}
    )

    config.train = dalle2.train(steps=1_000_000, batch_size=1024, learning_rate=1.2e-4)
    config.sample = ConfigDict()
    config.sample.sampler = "ddim"
    config.sample.num_inference_steps = 27
    config.sample.spacing = "sections"  # the 27 steps of GLIDE's upsampler
    return config
