import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.text import TextTransformer
from dalle_jax.models.unet import UNet
from tests.random_params import random_params

SMALL = {
    "channels": 16,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (4,),
    "head_channels": 8,
    "norm_groups": 4,
}


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@functools.cache
def built(**changes):
    """(params, x_t, t, pooled, context) → output in one program, parameters and inputs."""
    net = UNet(**{**SMALL, **changes})
    inputs = (
        random(1, 3, 8, 8, 3),
        jnp.array([0.1, 0.5, 0.9]),
        random(2, 3, 6),
        random(3, 3, 5, 7),
    )
    apply = jax.jit(net.apply, static_argnames="train")
    return apply, random_params(net.init, jax.random.key(0), *inputs), inputs


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_shape_dtype_and_float32_parameters(patch_size, dtype):
    apply, params, inputs = built(patch_size=patch_size, dtype=dtype, out_channels=6)
    y = apply(params, *inputs)
    assert y.shape == (3, 8, 8, 6) and y.dtype == jnp.float32
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert np.isfinite(y).all()


def test_bfloat16_agrees_with_float32():
    apply, params, inputs = built()
    y = apply(params, *inputs)
    half = built(dtype=jnp.bfloat16)[0](params, *inputs)
    assert jnp.std(half - y) < 0.05 * jnp.std(y)


def test_a_new_network_predicts_zero():
    net = UNet(**SMALL)
    inputs = random(1, 2, 8, 8, 3), jnp.array([0.1, 0.9])
    y, _ = jax.jit(net.init_with_output)(jax.random.key(0), *inputs)
    np.testing.assert_array_equal(y, 0)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_each_input_matters_to_its_own_sample_alone(which):
    apply, params, inputs = built()
    changed = list(inputs)
    changed[which] = inputs[which].at[1].add(0.3)
    difference = np.abs(apply(params, *changed) - apply(params, *inputs))
    difference = difference.max(axis=(1, 2, 3))
    assert difference[1] > 1e-3
    np.testing.assert_allclose(difference[[0, 2]], 0, atol=1e-5)


def test_dropout_acts_in_training_alone():
    apply, params, inputs = built(dropout=0.5)
    draw = lambda seed, train: apply(
        params, *inputs, train=train, rngs={"dropout": jax.random.key(seed)}
    )
    np.testing.assert_array_equal(draw(0, False), draw(1, False))
    assert jnp.abs(draw(0, True) - draw(1, True)).max() > 1e-3


def test_a_side_that_does_not_halve_is_named():
    net = UNet(**SMALL, patch_size=2)
    with pytest.raises(ValueError, match="multiples of 4, not 6×6"):
        net.init(jax.random.key(0), jnp.zeros((1, 6, 6, 3)), jnp.zeros(1))


def test_the_text_transformer_pools_the_end_of_text_and_reads_no_padding():
    net = TextTransformer(vocab_size=20, max_length=5, width=8, depth=2, num_heads=2)
    tokens = jnp.array([[4, 5, 1, 0, 0], [6, 1, 0, 0, 0]])
    params = random_params(net.init, jax.random.key(0), tokens)
    apply = jax.jit(net.apply)
    pooled, context, mask = apply(params, tokens)
    assert context.shape == (2, 5, 8)
    np.testing.assert_array_equal(mask, tokens != 0)
    np.testing.assert_allclose(pooled, jnp.stack([context[0, 2], context[1, 1]]), atol=1e-6)
    # The end of text has seen the first word.
    other, _, _ = apply(params, tokens.at[0, 0].set(7))
    assert jnp.abs(other[0] - pooled[0]).max() > 1e-4
    np.testing.assert_allclose(other[1], pooled[1], atol=1e-6)
    shorter, of_tokens, _ = apply(params, tokens[:, :3])
    np.testing.assert_allclose(shorter, pooled, atol=1e-6)
    np.testing.assert_allclose(of_tokens[0], context[0, :3], atol=1e-6)


def test_masked_context_is_as_none():
    net, x, t = (
        UNet(**SMALL),
        jax.random.normal(jax.random.key(0), (2, 8, 8, 3)),
        jnp.array([0.2, 0.7]),
    )
    pooled, context = jnp.ones((2, 4)), jax.random.normal(jax.random.key(1), (2, 5, 6))
    mask = jnp.array([[True, True, True, False, False]] * 2)
    params = random_params(net.init, jax.random.key(2), x, t, pooled, context, mask)
    apply = jax.jit(net.apply)
    y = apply(params, x, t, pooled, context, mask)
    np.testing.assert_allclose(apply(params, x, t, pooled, context[:, :3]), y, atol=1e-5)
    other = context.at[:, 3:].mul(-3.0)
    np.testing.assert_array_equal(apply(params, x, t, pooled, other, mask), y)
    assert jnp.abs(apply(params, x, t, pooled, context) - y).max() > 1e-3


def test_without_attention_it_is_convolutional():
    net = UNet(**{**SMALL, "attention_resolutions": ()}, middle_attention=False)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros(1))
    assert not any("attention" in name for name in params["params"])
    # One network for every size, with more channels in than out.
    x, t = jnp.zeros((1, 8, 8, 6)), jnp.zeros(1)
    params = random_params(net.init, jax.random.key(0), x, t)
    assert jax.jit(net.apply)(params, jnp.zeros((1, 6, 10, 6)), t).shape == (1, 6, 10, 3)
