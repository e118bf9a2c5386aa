import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dalle_jax.nn.embeddings import TextEmbedding, at_last_token, sinusoidal, token_mask
from dalle_jax.nn.norms import GroupNorm
from dalle_jax.nn.residual import ResidualBlock, downsample, upsample


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def test_group_norm_is_flax_group_norm():
    x = 3.0 + 2.0 * random(0, 2, 5, 4, 12)
    scale, bias = random(1, 12), random(2, 12)
    params = {"params": {"scale": scale, "bias": bias}}
    expected = nn.GroupNorm(num_groups=3, epsilon=1e-5).apply(params, x)
    np.testing.assert_allclose(GroupNorm(groups=3).apply(params, x), expected, atol=2e-5)


def test_group_norm_statistics_are_float32_in_bfloat16():
    # Around 1000 bfloat16 is 4 apart: statistics computed there would see no variance at all.
    x = 1000.0 + random(0, 1, 16, 16, 4)
    module = GroupNorm(groups=1, dtype=jnp.bfloat16)
    y = module.apply(module.init(jax.random.key(0), x), x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(jnp.std(y.astype(jnp.float32)), 1.0, atol=0.05)


@pytest.mark.parametrize("ratio", [0, 1, 30, 300, 3000, 10_000, -10_000])
@pytest.mark.parametrize("deviation", [0.01, 0.1, 1.0, 50.0])
def test_group_norm_holds_where_the_mean_is_many_deviations(ratio, deviation):
    """Against float64; x in float32 is itself 6e-4 deviations off at 10,000."""
    noise = np.random.default_rng(0).normal(size=(2, 8, 8, 12))
    x = (deviation * (ratio + noise)).astype(np.float32)
    groups = x.astype(np.float64).reshape(2, 64, 3, 4)
    mean, variance = (f(groups, (1, 3), keepdims=True) for f in (np.mean, np.var))
    expected = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    module = GroupNorm(groups=3)
    params = module.init(jax.random.key(0), x)
    np.testing.assert_allclose(module.apply(params, x), expected, atol=2e-5)

    def loss(x):
        return jnp.sum(jnp.sin(module.apply(params, x)))

    # The gradient is that at the same numbers around 0, but for rounding.
    near = (x.astype(np.float64) - deviation * ratio).astype(np.float32)
    slope, expected = (deviation * np.asarray(jax.grad(loss)(jnp.asarray(a))) for a in (x, near))
    np.testing.assert_allclose(slope, expected, atol=5e-3)


def test_group_norm_of_unlike_channels_with_an_outlier_first():
    """The number that is taken away first may be any of the group's, the farthest too."""
    x = np.random.default_rng(0).normal(size=(1, 16, 16, 8)) + np.arange(8) * 5
    x[0, 0, 0, 0] = 300.0
    x = x.astype(np.float32)
    groups = x.astype(np.float64).reshape(1, 256, 2, 4)
    mean, variance = (f(groups, (1, 3), keepdims=True) for f in (np.mean, np.var))
    expected = ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    module = GroupNorm(groups=2)
    drawn = module.apply(module.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(drawn, expected, rtol=2e-4, atol=2e-4)


def test_group_norm_says_which_width_does_not_fit():
    with pytest.raises(ValueError, match="12 channels can't be normalized in 5 groups"):
        GroupNorm(groups=5).init(jax.random.key(0), jnp.zeros((1, 2, 2, 12)))


def test_sinusoidal_is_the_papers_formula():
    t, width = 37.5, 8
    k = np.arange(width // 2)
    angles = t * 10_000.0 ** (-k / (width // 2 - 1))
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(sinusoidal(jnp.array([t]), width)[0], expected, atol=1e-5)


def test_a_shorter_caption_has_the_first_positions():
    module = TextEmbedding(vocab_size=10, max_length=4, width=6)
    tokens = jnp.array([[5, 1, 0, 0]])
    params = module.init(jax.random.key(0), tokens)
    p = params["params"]
    expected = np.stack([p["token"][5] + p["position"][0], p["token"][1] + p["position"][1]])
    np.testing.assert_allclose(module.apply(params, tokens)[0, :2], expected, atol=1e-6)
    np.testing.assert_allclose(module.apply(params, tokens[:, :2])[0], expected, atol=1e-6)


def test_a_longer_caption_than_the_positions_is_refused():
    with pytest.raises(ValueError, match="reads 4 tokens but got 5"):
        TextEmbedding(10, 4, 6).init(jax.random.key(0), jnp.zeros((1, 5), jnp.int32))


def test_the_last_token_is_that_before_the_padding():
    tokens = jnp.array([[5, 6, 1, 0], [1, 0, 0, 0], [7, 8, 9, 1]])
    x = jnp.arange(12.0).reshape(3, 4, 1)
    np.testing.assert_array_equal(at_last_token(x, token_mask(tokens))[:, 0], [2, 4, 11])


def test_downsample_undoes_upsample():
    x = random(0, 2, 3, 5, 4)
    np.testing.assert_allclose(downsample(upsample(x)), x, atol=1e-6)


@pytest.mark.parametrize("resample, side", [("same", 8), ("down", 4), ("up", 16)])
def test_a_new_residual_block_is_its_skip(resample, side):
    x, embedding = random(0, 2, 8, 8, 8), random(1, 2, 5)
    block = ResidualBlock(channels=8, resample=resample, norm_groups=4)
    y, _ = block.init_with_output(jax.random.key(2), x, embedding, train=False)
    expected = {"same": x, "down": downsample(x), "up": upsample(x)}[resample]
    assert y.shape == (2, side, side, 8)
    np.testing.assert_allclose(y, expected, atol=1e-6)
