"""DALL-E 2's CLIP: ViT-H/16 at 256 px, trained with sharpness-aware minimisation (appendix C)."""

from ml_collections import ConfigDict

from dalle_jax.configs import dalle2, unclip


def get_config() -> ConfigDict:
    """Only CLIP, which has no upstream stage."""
    config = dalle2.system("clip")
    config.clip = clip()
    return config


def clip() -> ConfigDict:
    """986 million parameters, those of OpenCLIP's ViT-H/16 except longer captions.

    The paper states image width 1280 and depth 32, text width 1024 and depth 24, a learning rate of
    3e-4 and SAM with ρ = 0.1. The rest is CLIP's (Radford et al. 2021, table 18): batch 32,768,
    β2 = 0.98, ε = 1e-6, weight decay 0.2, 2000 steps of warm-up, cosine decay, 32 epochs of 400 M
    pairs. Heads and embedding width are nowhere stated for this model; these are ViT-H's. SAM
    here moves the parameters along the gradient of the whole batch; the paper's replicas each
    moved theirs along that of their own 64 pairs.
    """
    config = unclip.clip()
    config.model.dtype = "bfloat16"
    config.model.scan_blocks = True  # compiled as one block and not as 56
    config.model.image_size = 256
    config.model.embedding_width = 1024
    config.model.image = ConfigDict({"patch_size": 16, "width": 1280, "depth": 32, "num_heads": 16})
    config.model.text = ConfigDict({"width": 1024, "depth": 24, "num_heads": 16})
    config.loss.sam_radius = 0.1
    config.train = dalle2.train(
        steps=390_625, batch_size=32_768, learning_rate=3e-4, b2=0.98, eps=1e-6, weight_decay=0.2
    )
    optimizer = config.train.optimizer
    optimizer.warmup_steps, optimizer.decay, optimizer.end_factor = 2000, "cosine", 0.0
    return config
