import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from dalle_jax.nn import attention
from dalle_jax.nn.attention import Attention, SpatialAttention, attend, causal_mask
from dalle_jax.nn.transformer import Transformer, empty_caches

KEYS = jnp.array([[True, True, False, True, False, False, True, True], [True] * 5 + [False] * 3])


def random(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def by_hand(params, x, context, heads):
    """The same attention in numpy float64, one head at a time."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x, context = np.asarray(x, np.float64), np.asarray(context, np.float64)
    width = x.shape[-1]
    q, k, v = np.split(x @ p["qkv"]["kernel"] + p["qkv"]["bias"], 3, axis=-1)
    ck, cv = np.split(context @ p["context_kv"]["kernel"] + p["context_kv"]["bias"], 2, axis=-1)
    k, v = np.concatenate([k, ck], 1), np.concatenate([v, cv], 1)
    d = width // heads
    outs = []
    for h in range(heads):
        s = slice(h * d, (h + 1) * d)
        logits = q[..., s] @ k[..., s].swapaxes(1, 2) / np.sqrt(d)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        outs.append(weights @ v[..., s])
    return np.concatenate(outs, -1) @ p["out"]["kernel"] + p["out"]["bias"]


def test_one_softmax_over_sequence_and_context():
    x, context = random(0, 2, 5, 12), random(1, 2, 3, 7)
    module = Attention(num_heads=3)
    params = module.init(jax.random.key(2), x, context)["params"]
    y = module.apply({"params": params}, x, context)
    np.testing.assert_allclose(y, by_hand(params, x, context, heads=3), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("masked", ["", "causal", "keys"])
def test_on_a_cpu_the_librarys_attention_is_computed(dtype, masked):
    q, k, v = (3 * random(i, 2, n, 3, 8).astype(dtype) for i, n in enumerate((5, 7, 7)))
    mask = {"": None, "causal": causal_mask(5, 7, 2), "keys": KEYS[:, None, None, :7]}[masked]

    def slopes(function):
        mean = lambda *qkv: jnp.mean(function(*qkv, mask=mask).astype(jnp.float32) ** 2)
        return jax.tree.leaves(jax.jit(jax.value_and_grad(mean, (0, 1, 2)))(q, k, v))

    for here, there in zip(slopes(attend), slopes(jax.nn.dot_product_attention)):
        there = np.asarray(there, np.float32)
        np.testing.assert_allclose(here, there, atol=1e-5 * np.abs(there).max())


@pytest.mark.parametrize(
    ("dtype", "head", "slots", "masked", "flash"),
    [
        (jnp.bfloat16, 32, 8, "", True),
        (jnp.bfloat16, 32, 8, "keys", True),
        (jnp.float32, 32, 8, "", False),
        (jnp.bfloat16, 32, 8, "causal", False),
        (jnp.bfloat16, 12, 8, "", False),  # sizes for which cuDNN has no kernels
        (jnp.bfloat16, 256, 8, "", False),
        (jnp.bfloat16, 32, 7, "", False),
    ],
)
def test_an_nvidia_gpu_is_given_cudnns_attention_where_that_serves(
    monkeypatch, dtype, head, slots, masked, flash
):
    monkeypatch.setattr(attention, "has_cudnn_flash", lambda: True)
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    q, k, v = (jnp.zeros((2, n, 3, head), dtype) for n in (6, slots, slots))
    mask = {"": None, "causal": causal_mask(6, slots, 2), "keys": KEYS[:, None, None, :slots]}[
        masked
    ]
    slope = jax.grad(lambda *qkv: attend(*qkv, mask=mask).astype(jnp.float32).sum(), (0, 1, 2))
    program = jax.jit(slope).trace(q, k, v).lower(lowering_platforms=("cuda",)).as_text()
    assert ("cudnn$fmha" in program) == flash


@pytest.mark.parametrize("causal", [False, True])
def test_keys_that_are_masked_are_as_if_they_were_not_there(causal):
    x, context = random(0, 1, 4, 8), random(1, 1, 3, 5)
    module = Attention(num_heads=2, causal=causal)
    params = module.init(jax.random.key(2), x, context)
    apply = jax.jit(module.apply)
    mask = jnp.array([[True, False, True] + [True, True, True, False]])
    y = apply(params, x, context, mask)
    without = apply(params, x[:, :3], context[:, ::2])
    np.testing.assert_allclose(y[:, :3], without, atol=1e-6)
    moved = apply(params, x.at[:, 3].mul(9.0), context.at[:, 1].mul(-9.0), mask)
    np.testing.assert_array_equal(moved[:, :3], y[:, :3])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_query_that_sees_no_key_is_finite_and_so_is_its_gradient(dtype):
    module = Attention(num_heads=2, causal=True, dtype=dtype)
    x = random(0, 1, 3, 8)
    params = module.init(jax.random.key(2), x)
    mask = jnp.array([[False, True, True]])
    total = lambda x: module.apply(params, x, mask=mask)[:, 1:].astype(jnp.float32).sum()
    value, slope = jax.jit(jax.value_and_grad(total))(x)
    assert jnp.isfinite(value) and jnp.isfinite(slope).all()
    assert (slope[:, 0] == 0).all() and (slope[:, 1:] != 0).any()


def test_self_attention_commutes_with_permutations():
    x = random(0, 1, 6, 8)
    module = Attention(num_heads=2)
    params = module.init(jax.random.key(1), x)
    order = jnp.array([3, 1, 5, 0, 2, 4])
    np.testing.assert_allclose(
        module.apply(params, x[:, order]), module.apply(params, x)[:, order], atol=1e-6
    )


@pytest.mark.parametrize("causal", [True, False])
def test_a_causal_transformer_never_looks_ahead(causal):
    x = random(0, 1, 6, 8)
    module = Transformer(depth=2, num_heads=2, causal=causal)
    params = module.init(jax.random.key(1), x)
    changed = module.apply(params, x.at[:, 4].mul(-2.0)) - module.apply(params, x)
    moved = np.abs(changed).max(axis=(0, 2)) > 1e-6
    assert moved[4:].all()
    assert moved[:4].all() != causal
    assert not (causal and moved[:4].any())


def test_spatial_attention_starts_as_the_identity_and_takes_both_dtypes():
    x, context = random(0, 2, 4, 4, 16), random(1, 2, 3, 5)
    for dtype in (jnp.float32, jnp.bfloat16):
        module = SpatialAttention(head_channels=8, norm_groups=4, dtype=dtype)
        params = module.init(jax.random.key(2), x, context)
        assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        np.testing.assert_array_equal(module.apply(params, x, context), x)


def test_heads_that_do_not_divide_the_channels_are_named():
    with pytest.raises(ValueError, match="heads of 5 channels do not divide the 16"):
        SpatialAttention(head_channels=5, norm_groups=4).init(
            jax.random.key(0), jnp.zeros((1, 4, 4, 16))
        )


def test_causal_attention_sees_all_of_the_context():
    x, context = random(0, 1, 4, 8), random(1, 1, 3, 5)
    module = Attention(num_heads=2, causal=True)
    params = module.init(jax.random.key(2), x, context)
    last = module.apply(params, x, context.at[:, 2].mul(-2.0)) - module.apply(params, x, context)
    assert (np.abs(last).max(axis=(0, 2)) > 1e-6).all()
    later = module.apply(params, x.at[:, 2].mul(-2.0), context) - module.apply(params, x, context)
    moved = np.abs(later).max(axis=(0, 2)) > 1e-6
    np.testing.assert_array_equal(moved, [False, False, True, True])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_reading_in_pieces_from_a_cache_is_reading_at_once(dtype):
    x, context = random(0, 2, 6, 8), random(1, 2, 3, 5)
    module = Transformer(depth=2, num_heads=2, causal=True, dtype=dtype)
    params = jax.jit(module.init)(jax.random.key(2), x, context)
    apply = jax.jit(module.apply)
    mask = jnp.pad(
        jnp.array([[True, True, False], [True] * 3]), ((0, 0), (0, 6)), constant_values=True
    )
    whole = apply(params, x, context, mask)
    caches = empty_caches(2, 9, width=8, depth=2, num_heads=2, dtype=dtype)
    pieces = []
    piece, caches = apply(params, x[:, :2], context, mask, caches)
    pieces.append(piece)
    for i in range(2, 6):
        piece, caches = apply(params, x[:, i : i + 1], None, mask, caches, 3 + i)
        pieces.append(piece)
    tolerance = 1e-5 if dtype == jnp.float32 else 0.05
    np.testing.assert_allclose(
        jnp.concatenate(pieces, 1).astype(jnp.float32), whole.astype(jnp.float32), atol=tolerance
    )


def test_only_causal_attention_takes_a_cache():
    x = random(0, 1, 2, 8)
    (cache,) = empty_caches(1, 2, width=8, depth=1, num_heads=2, dtype=jnp.float32)
    with pytest.raises(ValueError, match="only causal attention"):
        Attention(num_heads=2).init(jax.random.key(0), x, cache=cache)
