"""Every setting of unCLIP's first two stages, CLIP and the prior, for minutes on two CPU cores.

Images of 32 px and captions of a dozen words. Configs of whole systems take these sections.
"""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def clip() -> ConfigDict:
    """The stage that embeds images and captions into one space."""
    config = ConfigDict()
    config.model = ConfigDict()
    config.model.dtype = "float32"  # of the computation; parameters are float32
    config.model.scan_blocks = False  # a transformer's blocks as a loop over stacked weights
    config.model.image_size = 32  # pixels; larger data are shrunk to it, 0 is the data's size
    config.model.embedding_width = 128
    config.model.image = ConfigDict({"patch_size": 4, "width": 128, "depth": 4, "num_heads": 4})
    config.model.text = ConfigDict({"width": 128, "depth": 2, "num_heads": 4})

    config.loss = ConfigDict()
    config.loss.sam_radius = 0.0  # of sharpness-aware minimization; 0 is without

    config.train = base.train()
    config.train.steps = 1000
    config.train.batch_size = 128
    config.train.ema_decay = 0.99
    config.train.optimizer.name = "adamw"
    config.train.optimizer.learning_rate = 1e-3
    config.train.optimizer.weight_decay = 0.1
    return config


def prior() -> ConfigDict:
    """The stage that samples image embeddings given captions; there are two kinds."""
    config = ConfigDict()
    config.kind = "diffusion"  # or autoregressive
    config.model = ConfigDict()
    config.model.dtype = "float32"
    config.model.scan_blocks = False
    config.model.text = ConfigDict({"width": 192, "depth": 4, "num_heads": 6})
    # The second transformer, only of the autoregressive kind.
    config.model.latent = ConfigDict({"width": 192, "depth": 4, "num_heads": 6})

    config.diffusion = ConfigDict()  # only of the diffusion kind
    config.diffusion.schedule = "cosine"
    config.diffusion.num_timesteps = 0  # steps of the schedule's table; 0 is continuous time

    config.autoregressive = ConfigDict()  # only of the autoregressive kind
    config.autoregressive.num_dimensions = 32  # of the embeddings' PCA
    config.autoregressive.num_buckets = 1024  # per dimension
    config.autoregressive.num_fitted = 8192  # training items to measure both on

    config.loss = ConfigDict({"text_dropout": 0.1})  # share of captions dropped

    config.train = base.train()
    config.train.steps = 2000
    config.train.batch_size = 128
    config.train.ema_decay = 0.995
    config.train.optimizer.name = "adamw"
    config.train.optimizer.learning_rate = 1e-3
    config.train.optimizer.weight_decay = 0.06

    config.sample = ConfigDict()
    config.sample.num_candidates = 2  # of which the nearest to the text embedding is returned
    config.sample.guidance_scale = 1.0
    config.sample.sampler = "unipc"
    config.sample.num_inference_steps = 10
    config.sample.dot_percentile = 0.5  # condition on dot products in the upper half of training's
    return config


def prior_autoregressive() -> ConfigDict:
    """The autoregressive prior with the parameters of `prior()`'s, for a fair comparison."""
    config = prior()
    config.kind = "autoregressive"
    config.model.text.update({"width": 180, "depth": 2})
    config.model.latent.update({"width": 150, "depth": 2})
    return config
