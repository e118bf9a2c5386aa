"""CLIP and the priors at the paper's sizes: what their networks hold, against published counts."""

import jax
import numpy as np
import pytest
from dalle_jax.configs.dalle2 import clip, prior_ar, prior_diffusion

from dalle_jax.stages.clip import Clip
from dalle_jax.stages.prior import Prior


def build(stage, config, name, **upstream):
    own = {k: v for k, v in config[name].to_dict().items() if k not in ("train", "sample")}
    return stage(
        **own,
        image_size=config.data.image_size,
        vocab_size=config.tokenizer.vocab_size,
        max_length=config.tokenizer.max_length,
        **upstream,
    )


def shapes(stage):
    return jax.eval_shape(stage.init, jax.random.key(0))


def millions(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree)) / 1e6


def test_clip_has_the_parameters_of_openclips_vit_h_16():
    params = shapes(build(Clip, clip.get_config(), "clip"))
    # open_clip's docs/model_profile.csv, at 224 px and 77 tokens; this one has 256 px (60 positions
    # more) and 256 tokens.
    image = 632.23 + 60 * 1280 / 1e6
    text = 354.03 + 179 * 1024 / 1e6
    found = millions([params["image_encoder"], params["image_projection"]])
    np.testing.assert_allclose(found, image, atol=0.02)
    found = millions([params["text_encoder"], params["text_projection"]])
    np.testing.assert_allclose(found, text, atol=0.02)


@pytest.mark.parametrize("config", [prior_ar, prior_diffusion], ids=["ar", "diffusion"])
def test_priors_have_what_their_docstrings_say(config):
    config = config.get_config()
    stage = build(Prior, config, "prior", upstream={"clip": build(Clip, config, "clip")})
    params = shapes(stage)
    blocks = lambda d, depth: depth * (12 * d**2 + 13 * d) / 1e6  # kernels, biases and norms
    if config.prior.kind == "diffusion":
        np.testing.assert_allclose(millions(params["transformer"]), blocks(2048, 24), rtol=1e-4)
        np.testing.assert_allclose(millions(params), 1220, rtol=0.01)
        return
    network = params["network"]
    np.testing.assert_allclose(millions(network["text_transformer"]), blocks(2048, 24), rtol=1e-4)
    latent = millions(network["latent_transformer"])
    # Keys and values of the text's 2048 numbers, in each block.
    projections = 24 * (2048 + 1) * 2 * 1664 / 1e6
    np.testing.assert_allclose(latent, blocks(1664, 24) + projections, rtol=1e-4)
    assert abs(latent / 1000 - 1) < 0.1  # the paper's 1B
    np.testing.assert_allclose(millions(network), 2200, rtol=0.01)
