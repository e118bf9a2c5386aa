"""DALL-E 2 at the sizes of its paper (Ramesh et al. 2022, 2204.06125, Table 3), one file a stage.

These are for a pod: batches and parameters are cut over all devices. What Table 3 leaves open is
the same in all of them and stated here.
"""

from ml_collections import ConfigDict

from dalle_jax.configs import base


def system(*stages: str) -> ConfigDict:
    """`base` without its decoder, for captioned images in tar shards.

    Images are loaded at the 256 pixels that CLIP reads. Captions have 256 tokens (Table 3) of a
    vocabulary of 49,408, the size of CLIP's (Radford et al. 2021, §2.4); the paper's own data are
    not public.
    """
    config = base.get_config()
    del config["decoder"]
    config.stages = stages
    config.data.source = "webdataset:data/pairs/*.tar"
    config.data.image_size = 256
    config.tokenizer.vocab_size = 49_408
    config.tokenizer.max_length = 256
    return config


def train(
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    ema_decay: float = 0.9999,
) -> ConfigDict:
    """A column of Table 3: AdamW with β1 = 0.9 and decoupled weight decay.

    The table has neither warm-up nor clipping nor decay of the learning rate; here it rises over
    5,000 steps and stays, and gradients are clipped to a norm of 1.
    """
    config = base.train()
    config.steps, config.batch_size, config.ema_decay = steps, batch_size, ema_decay
    optimizer = config.optimizer
    optimizer.name, optimizer.learning_rate = "adamw", learning_rate
    optimizer.b1, optimizer.b2, optimizer.eps = 0.9, b2, eps
    optimizer.weight_decay, optimizer.clip_norm = weight_decay, 1.0
    optimizer.warmup_steps, optimizer.decay, optimizer.end_factor = 5000, "constant", 1.0
    config.mesh = ConfigDict({"data": 1, "fsdp": -1, "tensor": 1})
    config.remat = "blocks"  # else nothing fits, docs/scale.md
    config.validate_every = config.preview_every = config.checkpoint_every = 10_000
    return config
