import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.prior import AutoregressivePrior, DiffusionPrior, Text
from tests.random_params import random_params
from tests.stacked_params import stacked

L, D, W = 5, 6, 7
SIZES = {"width": 8, "depth": 2, "num_heads": 2}
DTYPES = [jnp.float32, jnp.bfloat16]


@functools.cache
def text():
    keys = jax.random.split(jax.random.key(0), 2)
    mask = jnp.arange(L)[None] < jnp.array([[3], [5]])
    return Text(
        jax.random.normal(keys[0], (2, D)) / np.sqrt(D),
        jax.random.normal(keys[1], (2, L, W)),
        mask,
    )


X_T, T = jax.random.normal(jax.random.key(1), (2, D)), jnp.array([0.2, 0.9])
BUCKETS, DOT = jax.random.randint(jax.random.key(1), (2, 4), 0, 10), jnp.array([3, 9])


@functools.cache
def diffusion(dtype=jnp.float32):
    """(x_t, t, text) → x0_hat, and its parameters."""
    module = DiffusionPrior(**SIZES, max_length=L, embedding_scale=1.3, dtype=dtype)
    params = random_params(module.init, jax.random.key(2), X_T, T, text())
    return module, params, jax.jit(functools.partial(module.apply, params))


@functools.cache
def autoregressive(dtype=jnp.float32, scan_blocks=False):
    """(text, dot, buckets) → logits, and its parameters, the same ones always."""
    module = AutoregressivePrior(
        text=SIZES,
        latent={**SIZES, "width": 12},
        max_length=L,
        num_dimensions=4,
        num_buckets=10,
        embedding_scale=1.3,
        dtype=dtype,
        scan_blocks=scan_blocks,
    )
    if scan_blocks:
        params = stacked(autoregressive(dtype)[1])
    else:
        params = random_params(module.init, jax.random.key(2), text(), DOT, BUCKETS)
    return module, params, jax.jit(functools.partial(module.apply, params))


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_compute_in_either_dtype_with_float32_parameters(dtype):
    for network, arguments, shape in (
        (diffusion, (X_T, T, text()), (2, D)),
        (autoregressive, (text(), DOT, BUCKETS), (2, 4, 10)),
    ):
        _, params, apply = network(dtype)
        output = apply(*arguments)
        assert output.shape == shape and output.dtype == jnp.float32
        assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        expected = network()[2](*arguments)
        scale = jnp.abs(expected).max()
        np.testing.assert_allclose(output / scale, expected / scale, atol=0.05)


def test_the_diffusion_prior_reads_the_papers_sequence_causally():
    # Tokens, text embedding, time, noised image embedding, query: each moves itself and what
    # stands after it.
    module, params, _ = diffusion()

    @jax.jit
    def sequence(x_t, t, text):
        x0, state = module.apply(params, x_t, t, text, capture_intermediates=True)
        return x0, state["intermediates"]["transformer"]["__call__"][0]

    given = text()
    x0, plain = sequence(X_T, T, given)
    assert plain.shape == (2, L + 4, 8)
    changes = {
        1: (X_T, T, given._replace(features=given.features.at[:, 1].mul(-2.0))),
        L: (X_T, T, given._replace(embedding=-given.embedding)),
        L + 1: (X_T, T / 2, given),
        L + 2: (-X_T, T, given),
    }
    for place, arguments in changes.items():
        x0_changed, changed = sequence(*arguments)
        change = np.abs(np.asarray(changed - plain)).max(axis=(0, 2))
        assert change[:place].max(initial=0) < 1e-6, place
        assert change[place:].min() > 1e-4, place
        assert np.abs(x0_changed - x0).max() > 1e-4


def test_the_autoregressive_prior_never_looks_ahead():
    logits = autoregressive()[2]
    plain = np.asarray(logits(text(), DOT, BUCKETS))
    for k in range(4):
        buckets = np.array(BUCKETS)
        buckets[:, k] = (buckets[:, k] + 1) % 10
        change = np.abs(np.asarray(logits(text(), DOT, buckets)) - plain).max(axis=(0, 2))
        assert change[: k + 1].max() < 1e-6
        assert change[k + 1 :].min(initial=1) > 1e-4
    for arguments in (
        (text(), (DOT + 5) % 10, BUCKETS),
        (text()._replace(embedding=-text().embedding), DOT, BUCKETS),
        (text()._replace(features=-text().features), DOT, BUCKETS),
    ):
        change = np.abs(np.asarray(logits(*arguments)) - plain)
        assert change.max(axis=(0, 2)).min() > 1e-4


@pytest.mark.parametrize(
    "dtype, scan_blocks", [(jnp.float32, False), (jnp.bfloat16, False), (jnp.float32, True)]
)
def test_logits_from_the_cache_are_those_of_the_whole_sequence(dtype, scan_blocks):
    whole = autoregressive(dtype)[2](text(), DOT, BUCKETS)
    module, params, _ = autoregressive(dtype, scan_blocks)
    start = jax.jit(functools.partial(module.apply, params, method="start"))
    following = jax.jit(functools.partial(module.apply, params, method="next"))
    logits, caches = start(text(), DOT)
    steps = [logits]
    for k in range(1, 4):
        logits, caches = following(BUCKETS[:, k - 1], k, text(), caches)
        steps.append(logits)
    scale = jnp.abs(whole).max()
    tolerance = 1e-5 if dtype == jnp.float32 else 0.03
    np.testing.assert_allclose(jnp.stack(steps, 1) / scale, whole / scale, atol=tolerance)


def test_nothing_of_a_dropped_caption_is_read_and_nothing_behind_a_whole_ones_end():
    given, which = text(), np.array([True, False])
    # Another caption where it is dropped, and other features behind the end where it is not.
    replaced = which[:, None, None] | ~np.asarray(given.mask)[..., None]
    other = given._replace(
        embedding=jnp.where(which[:, None], -given.embedding, given.embedding),
        features=jnp.where(replaced, -given.features, given.features),
    )
    dot = np.where(which, 7, DOT)
    by_diffusion = lambda text, dot: diffusion()[2](X_T, T, text)
    by_autoregression = lambda text, dot: autoregressive()[2](text, dot, BUCKETS)
    for read in (by_diffusion, by_autoregression):
        plain, dropped = read(given, DOT), read(given.dropped(which), DOT)
        np.testing.assert_allclose(read(other.dropped(which), dot), dropped, atol=1e-6)
        np.testing.assert_allclose(dropped[1], plain[1], atol=1e-6)
        assert jnp.abs(dropped[0] - plain[0]).max() > 1e-3
        assert jnp.abs(read(other, dot)[0] - plain[0]).max() > 1e-3
