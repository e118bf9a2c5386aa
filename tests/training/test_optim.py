import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalle_jax.training.optim import (
    is_kernel,
    learning_rate_schedule,
    make_optimizer,
    orthogonalize,
)

PARAMS = {
    "dense": {"kernel": jnp.full((4, 6), 2.0), "bias": jnp.full((6,), 2.0)},
    "conv": {"kernel": jnp.full((3, 3, 2, 5), 2.0)},
    "norm": {"scale": jnp.full((6,), 2.0)},
    "embedding": {"token": jnp.full((7, 4), 2.0)},
}


def rates(decay, steps=(0, 1, 4, 5, 10, 15, 20), **options):
    settings = {"steps": 15, "warmup_steps": 5, "end_factor": 0.1, **options}
    schedule = learning_rate_schedule(2.0, decay=decay, **settings)
    return [float(schedule(n)) for n in steps]


def test_warmup_then_each_decay():
    warm = [0.4, 0.8, 2.0]
    np.testing.assert_allclose(rates("constant"), warm + [2.0, 2.0, 2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(rates("linear"), warm + [2.0, 1.1, 0.2, 0.2], rtol=1e-5)
    middle = 2.0 * (0.9 * 0.5 * (1 + np.cos(np.pi / 2)) + 0.1)
    np.testing.assert_allclose(rates("cosine"), warm + [2.0, middle, 0.2, 0.2], rtol=1e-5)
    root = [2.0 * np.sqrt(5 / n) for n in (5, 10, 15, 20)]
    np.testing.assert_allclose(rates("inverse_sqrt"), warm + root, rtol=1e-5)


def test_no_warmup_starts_at_the_peak():
    assert rates("cosine", steps=(0,), warmup_steps=0) == [2.0]


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="'cosin' is unknown; choose one of constant, cosine"):
        rates("cosin")
    with pytest.raises(ValueError, match="'sgd' is unknown; choose one of adamw, muon"):
        make_optimizer("sgd", learning_rate=1.0, steps=1)


def update(name="adamw", gradient=0.0, **options):
    optimizer = make_optimizer(name, learning_rate=0.1, steps=10, **options)
    gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), PARAMS)
    return jax.jit(optimizer.update)(gradients, optimizer.init(PARAMS), PARAMS)[0]


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_only_kernels_decay(name):
    updates = update(name, weight_decay=0.5)
    for kernel, leaf in zip(jax.tree.leaves(is_kernel(PARAMS)), jax.tree.leaves(updates)):
        np.testing.assert_allclose(leaf, -0.1 * 0.5 * 2.0 if kernel else 0.0, atol=1e-7)
    assert is_kernel(PARAMS) == {
        "dense": {"kernel": True, "bias": False},
        "conv": {"kernel": True},
        "norm": {"scale": False},
        "embedding": {"token": False},
    }


def test_adamw_first_update_is_the_sign_of_the_gradient():
    for leaf in jax.tree.leaves(update(gradient=3.0)):
        np.testing.assert_allclose(leaf, -0.1, rtol=1e-5)


def test_clipping_is_by_the_global_norm():
    """With eps much larger than the gradient, Adam's first update is −lr · g / eps."""
    count = sum(x.size for x in jax.tree.leaves(PARAMS))
    clipped = 1.0 / np.sqrt(count)  # each of `count` equal entries, of a vector of norm 1
    for leaf in jax.tree.leaves(update(gradient=3.0, eps=1e6, clip_norm=1.0)):
        np.testing.assert_allclose(leaf, -0.1 * clipped / 1e6, rtol=1e-4)


def test_muon_makes_kernels_orthogonal_and_leaves_the_rest_to_adam():
    optimizer = make_optimizer("muon", learning_rate=0.1, steps=10)
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "dense": {"kernel": jax.random.normal(keys[0], (8, 32)), "bias": jnp.zeros(32)},
        "conv": {"kernel": jax.random.normal(keys[1], (3, 3, 4, 8))},
        "embedding": {"token": jax.random.normal(keys[2], (7, 4))},
    }
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    for kernel, shape in (
        (updates["dense"]["kernel"], (8, 32)),
        (updates["conv"]["kernel"], (36, 8)),
    ):
        singular = np.linalg.svd(np.asarray(kernel).reshape(shape), compute_uv=False)
        # 0.2 · √(larger side) for each singular value; Newton-Schulz hits it within a third.
        np.testing.assert_allclose(singular / (0.1 * 0.2 * np.sqrt(max(shape))), 1.0, atol=0.35)
    # Nesterov's first step: g + b1 (1 − b1) g / (1 − b1²) = (1 + b1 / (1 + b1)) g.
    np.testing.assert_allclose(
        updates["embedding"]["token"],
        -0.1 * (0.9 / 1.9 + 1) * np.sign(params["embedding"]["token"]),
        rtol=1e-3,
    )


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_stacked_kernels_are_updated_matrix_by_matrix(name):
    rng = np.random.default_rng(0)
    draw = lambda *sizes: jnp.asarray(rng.normal(size=sizes), jnp.float32)
    blocks = [{"wide": {"kernel": draw(4, 12), "bias": draw(12)}} for _ in range(3)]
    slopes = [jax.tree.map(lambda x, i=i: 10.0**i * draw(*x.shape), blocks[i]) for i in range(3)]
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    optimizer = make_optimizer(name, learning_rate=0.1, steps=9, weight_decay=0.5, clip_norm=1.0)

    @jax.jit
    def two_updates(params, gradients):
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(gradients, state, params)
            params = jax.tree.map(jnp.add, params, updates)
        return params

    names = [f"block_{i}" for i in range(3)]
    one_by_one = two_updates(dict(zip(names, blocks)), dict(zip(names, slopes)))
    at_once = two_updates({"blocks": stack(blocks)}, {"blocks": stack(slopes)})
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        at_once["blocks"],
        stack([one_by_one[name] for name in names]),
    )


def test_orthogonalize_is_newton_schulz_step_by_step():
    """Against optax's own, for tall, wide, near-square and nearly singular matrices."""
    for seed, shape in enumerate([(72, 8), (8, 72), (16, 12), (16, 16), (432, 48)]):
        x = jax.random.normal(jax.random.key(seed), shape)
        x *= jnp.logspace(-4, 0, shape[1])[None]  # columns of very different size
        theirs = optax.contrib.muon(
            1.0,
            muon_weight_dimension_numbers=optax.contrib.MuonDimensionNumbers((0,), (1,)),
            consistent_rms=1.0,
        )
        expected = -theirs.update(x, theirs.init(x), x)[0] / np.sqrt(max(shape))
        np.testing.assert_allclose(orthogonalize(x), expected, atol=2e-3)
