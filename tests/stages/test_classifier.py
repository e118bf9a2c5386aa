import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalle_jax.stages.classifier import Classifier, present_tokens

MODEL = {
    "dtype": "float32",
    "channels": 8,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "norm_groups": 4,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def stage():
    return Classifier(model=MODEL, image_size=8, vocab_size=16, max_length=5)


@pytest.fixture(scope="module")
def params(stage):
    return jax.jit(stage.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def batch():
    """Four plain colours, whose captions are of one to three tokens."""
    colors = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [90, 90, 90]], np.uint8)
    tokens = np.array([[5, 1, 0, 0, 0], [6, 7, 1, 0, 0], [6, 8, 9, 1, 0], [10, 10, 1, 0, 0]])
    image = np.broadcast_to(colors[:, None, None], (4, 8, 8, 3))
    return {"image": jnp.asarray(image), "tokens": jnp.asarray(tokens, jnp.int32)}


@functools.partial(jax.jit, static_argnames=("stage", "train"))
def loss_of(stage, params, batch, train=False):
    return stage.loss(params, None, batch, jax.random.key(0), train=train)


def test_a_token_is_present_once_however_often_and_specials_never():
    tokens = jnp.array([[10, 10, 3, 1, 0], [1, 0, 0, 0, 0]])
    present = np.asarray(present_tokens(tokens, 16))
    assert present.shape == (2, 14)
    np.testing.assert_array_equal(np.flatnonzero(present[0]), [1, 8])
    assert not present[1].any()


def test_the_loss_of_constant_logits_is_its_closed_form(stage, params, batch):
    constant = {**params, "tokens": jax.tree.map(jnp.zeros_like, params["tokens"])}
    constant["tokens"]["bias"] = jnp.full(16, -2.0)
    loss, metrics = loss_of(stage, constant, batch)
    present = np.array([1, 2, 3, 1])  # of 14 tokens
    expected = np.mean(present * np.log1p(np.exp(2.0)) + (14 - present) * np.log1p(np.exp(-2.0)))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["recall"] == 0 and metrics["precision"] == 0


def test_it_learns_which_tokens_an_image_has(stage, params, batch):
    optimizer = optax.adam(0.02)

    @jax.jit
    def step(params, state):
        gradients = jax.grad(lambda p: loss_of(stage, p, batch, train=True)[0])(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state

    before, _ = loss_of(stage, params, batch)
    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    after, metrics = loss_of(stage, params, batch)
    assert after < 0.1 * before
    assert {name: float(value) for name, value in metrics.items()} == {
        "precision": 1,
        "recall": 1,
        "all_right": 1,
    }


def test_what_it_gives_are_features(stage, params, batch):
    features = jax.jit(stage.sample)(params, {"image": batch["image"]}, jax.random.key(0))
    assert features.shape == (4, 16) and features.dtype == jnp.float32
    assert jnp.all(features >= 0) and jnp.any(features > 0)
