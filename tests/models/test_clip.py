import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.clip import Clip, capped, normalize
from tests.random_params import random_params

SIZES = {"width": 8, "depth": 1, "num_heads": 2}


def clip(dtype=jnp.float32):
    return Clip(
        image={**SIZES, "patch_size": 4},
        text={**SIZES, "vocab_size": 16, "max_length": 6},
        embedding_width=5,
        dtype=dtype,
    )


def inputs(n=3):
    image = jax.random.uniform(jax.random.key(0), (n, 8, 8, 3), minval=-1)
    tokens = jnp.array([[5, 7, 1, 0, 0, 0], [2, 3, 4, 5, 6, 1], [9, 1, 0, 0, 0, 0]])[:n]
    return image, tokens


@functools.cache
def ready(dtype=jnp.float32):
    """Parameters, and their jitted (params, *args, method=...) → outputs."""
    module = clip(dtype)
    params = random_params(module.init, jax.random.key(1), *inputs())
    return params, jax.jit(module.apply, static_argnames="method")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_embeddings_are_float32_of_length_1_whatever_the_computation(dtype):
    params, apply = ready(dtype)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    image, text, _ = apply(params, *inputs())
    for embedding in (image, text):
        assert embedding.shape == (3, 5) and embedding.dtype == jnp.float32
        np.testing.assert_allclose(jnp.linalg.norm(embedding, axis=-1), 1, rtol=1e-5)
    features = apply(params, inputs()[1], method="encode_text")[1]
    assert features.shape == (3, 6, 8) and features.dtype == dtype
    full = ready()[1](params, *inputs())[0]
    np.testing.assert_allclose(image, full, atol=1e-6 if dtype == jnp.float32 else 0.05)


def test_text_is_read_at_the_end_of_text_and_causally():
    params, apply = ready()
    tokens = inputs()[1]
    encode = lambda tokens: apply(params, tokens, method="encode_text")
    embedding, features = encode(tokens)
    # Padding behind the end of text moves nothing.
    short, of_short = encode(tokens[:, :4])
    np.testing.assert_allclose(short[::2], embedding[::2], atol=1e-6)
    np.testing.assert_allclose(of_short[::2, :3], features[::2, :3], atol=1e-6)
    # A token moves the features from its own place on, and so the embedding.
    other, moved = encode(tokens.at[0, 1].set(8))
    np.testing.assert_allclose(moved[0, 0], features[0, 0], atol=1e-6)
    assert jnp.abs(moved[0, 1:3] - features[0, 1:3]).min(-1).max() > 1e-4
    assert jnp.abs(other[0] - embedding[0]).max() > 1e-3


def test_the_image_encoder_tells_where_patches_stand():
    params, apply = ready()
    image = inputs()[0]
    encode = lambda params, image: apply(params, image, method="encode_image")
    shifted = np.roll(image, 4, axis=2)
    assert jnp.abs(encode(params, shifted) - encode(params, image)).max() > 1e-4
    # Without positions it could not: the class token attends to a set.
    blind = jax.tree.map(lambda x: x, params)
    blind["params"]["image_encoder"]["position"] *= 0
    np.testing.assert_allclose(encode(blind, shifted), encode(blind, image), atol=1e-5)


def test_patches_that_do_not_tile_the_image_are_named():
    _, tokens = inputs()
    with pytest.raises(ValueError, match="patches of 4 pixels do not tile an image of 10×10"):
        jax.eval_shape(clip().init, jax.random.key(0), jnp.zeros((3, 10, 10, 3)), tokens)


def test_temperature_starts_at_clip_s_is_capped_and_comes_back():
    params, apply = ready()
    start, _ = clip().init_with_output(jax.random.key(0), method="logit_scale")
    np.testing.assert_allclose(start, 1 / 0.07, rtol=1e-5)

    def scale(log_scale):
        changed = {"params": {**params["params"], "log_scale": log_scale}}
        return apply(changed, method="logit_scale")

    np.testing.assert_allclose(scale(jnp.log(99.0)), 99, rtol=1e-5)
    np.testing.assert_allclose(scale(jnp.log(150.0)), 100, rtol=1e-5)
    slope = jax.grad(lambda x, sign: sign * capped(x, 1.0))
    # Above the cap a loss that falls with x pushes no further, one that rises brings x back.
    assert slope(1.5, -1.0) == 0 and slope(1.5, 1.0) == 1
    assert slope(0.5, -1.0) == -1 and slope(0.5, 1.0) == 1


def test_normalizing_zero_gives_no_nan():
    value, slope = jax.value_and_grad(lambda x: normalize(x).sum())(jnp.zeros(3))
    assert value == 0 and jnp.isfinite(slope).all()
