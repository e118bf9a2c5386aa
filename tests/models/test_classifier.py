import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.classifier import Classifier

SMALL = {"channels": 8, "channel_mult": (1, 2), "num_res_blocks": 1, "norm_groups": 4}


@functools.cache
def built(vocab_size=11, **changes):
    """(params, images) → features and logits, in one program, and new parameters."""
    network = Classifier(vocab_size=vocab_size, **{**SMALL, **changes})
    return jax.jit(network.apply), jax.jit(network.init)(jax.random.key(0), images(1))


def images(n, side=8):
    return jax.random.uniform(jax.random.key(1), (n, side, side, 3), minval=-1, maxval=1)


def test_features_are_as_long_as_the_last_level_is_wide():
    apply, params = built()
    for side in (8, 13):  # odd sides are rounded up at each halving
        features, logits = apply(params, images(3, side))
        assert features.shape == (3, 16) and logits.shape == (3, 11)


def test_an_image_is_classified_by_itself():
    apply, params = built()
    together = apply(params, images(4))
    alone = apply(params, images(4)[2:3])
    for a, b in zip(together, alone):
        np.testing.assert_allclose(a[2:3], b, rtol=1e-5, atol=1e-6)


def test_a_new_network_expects_one_token():
    apply, params = built(vocab_size=200)
    _, logits = apply(params, images(50))
    assert jnp.sum(jax.nn.sigmoid(logits), axis=1).mean() == pytest.approx(1, rel=0.5)


def test_bfloat16_gives_float32_close_to_it():
    apply, params = built()
    features, _ = apply(params, images(8))
    half = built(dtype=jnp.bfloat16)[0](params, images(8)).features
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, features, atol=0.05 * float(features.max()))
