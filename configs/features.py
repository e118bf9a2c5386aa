"""A classifier of captions' tokens, for its features: FD, KD and related metrics without Inception.

    dalle-jax train --config=configs/features.py --workdir=runs/features
    dalle-jax evaluate --workdir=runs/quickstart --metrics=fid,kid,prdc --features=runs/features

About three minutes on one CPU core. For other data: --config.data.source=emoji and so on.
"""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def get_config() -> ConfigDict:
    """The data and tokenizer of `base`, and the classifier instead of the decoder."""
    config = base.get_config()
    del config.decoder
    config.stages = ("classifier",)
    config.classifier = classifier()
    return config


def classifier() -> ConfigDict:
    """The stage that predicts which tokens an image's caption contains."""
    config = ConfigDict()
    config.model = ConfigDict()
    config.model.dtype = "float32"  # of the computation; parameters are float32
    config.model.channels = 32
    config.model.channel_mult = (1, 2, 4)  # the last level's width is the features' length
    config.model.num_res_blocks = 1
    config.model.norm_groups = 8
    config.model.dropout = 0.1

    config.train = base.train()
    config.train.steps = 800
    config.train.batch_size = 64
    config.train.optimizer.warmup_steps = 50
    config.train.ema_decay = 0.99
    config.train.validate_every = 200
    config.train.preview_every = 800  # it makes no images
    config.train.checkpoint_every = 200
    return config
