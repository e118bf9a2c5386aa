"""The step against its formulas, and against itself on other meshes and microbatches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, put_batch, tree_shardings
from dalle_jax.training.state import Rows, create_state
from dalle_jax.training.step import ema_rate, make_eval_step, make_train_step
from tests.training.tiny import Batches, TinyStage

ONE = make_mesh({"data": 1}, jax.devices()[:1])


def stepping(stage, mesh=ONE, accumulate=1, seed=0, name="adamw", ema_decay=0.9):
    """The step of a stage, its first state and its root key."""
    optimizer = make_optimizer(name, learning_rate=1e-2, steps=10, clip_norm=1.0)
    init_key, root_key = jax.random.split(jax.random.key(seed))
    init = functools.partial(create_state, stage, optimizer)
    shardings = tree_shardings(jax.eval_shape(init, init_key), mesh)
    settings = {"ema_decay": ema_decay, "accumulate": accumulate}
    step = make_train_step(stage, optimizer, mesh=mesh, state_shardings=shardings, **settings)
    return step, jax.jit(init, out_shardings=shardings)(init_key), root_key


def train(num_steps, *, mesh=ONE, noise=1.0, **settings):
    """All states (on the host) and metrics of a short training."""
    step, state, root_key = stepping(TinyStage(noise), mesh, **settings)
    batches, states, metrics = Batches(), [jax.device_get(state)], []
    for _ in range(num_steps):
        state, values = step(state, None, put_batch(next(batches), mesh), root_key)
        states.append(jax.device_get(state))
        metrics.append(jax.device_get(values))
    return states, metrics


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.fixture(scope="module")
def one_device():
    return train(4)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 4, 1), (2, 2, 2)])
def test_every_mesh_trains_like_one_device(one_device, sizes):
    mesh = make_mesh(dict(zip(("data", "fsdp", "tensor"), sizes)))
    states, metrics = train(4, mesh=mesh)
    assert_close(metrics, one_device[1], rtol=2e-5)
    assert_close(states[-1].params, one_device[0][-1].params, atol=2e-5)
    assert_close(states[-1].ema_params, one_device[0][-1].ema_params, atol=2e-5)


@pytest.mark.parametrize("mesh", [None, {"data": 2, "fsdp": 4}])
def test_accumulated_gradient_is_that_of_the_whole_batch(mesh):
    mesh = ONE if mesh is None else make_mesh(mesh)
    whole, whole_metrics = train(1, noise=0.0)
    cut, cut_metrics = train(1, noise=0.0, accumulate=2, mesh=mesh)
    # Adam's first moment after one step is (1 − b1) · gradient, before it is normalised away.
    moments = [optax.tree.get(s[1].opt_state, "mu") for s in (whole, cut)]
    assert_close(*moments, rtol=1e-4, atol=1e-8)
    assert_close(whole_metrics, cut_metrics, rtol=1e-5)


def test_microbatches_draw_their_own_noise():
    class Noise(TinyStage):
        def loss(self, params, frozen, batch, key, *, train):
            draw = jax.random.normal(key)
            return draw + 0.0 * params["out"]["bias"].sum(), {"square": draw**2}

    step, state, root_key = stepping(Noise(), accumulate=4)
    _, metrics = step(state, None, put_batch(next(Batches()), ONE), root_key)
    # Equal draws would give mean(x²) = mean(x)².
    assert float(metrics["square"]) > float(metrics["loss"]) ** 2 + 1e-3


def test_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="16 images can't be cut into 5 equal microbatches"):
        train(1, accumulate=5)
    with pytest.raises(ValueError, match="can't be cut into 6 equal shares"):
        put_batch(next(Batches()), make_mesh({"data": 6}, jax.devices()[:6]))


def test_ema_is_its_formula():
    states, _ = train(4, ema_decay=0.25)
    expected = states[0].params["out"]["kernel"].astype(np.float64)
    for n in range(4):
        decay = min(0.25, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * states[n + 1].params["out"]["kernel"]
        np.testing.assert_allclose(
            states[n + 1].ema_params["out"]["kernel"], expected, rtol=1e-6, atol=1e-7
        )


def test_the_weight_of_the_average_rises_to_the_decay():
    rates = [float(ema_rate(0.999, jnp.int32(n))) for n in (0, 90, 10**6)]
    np.testing.assert_allclose(rates, [0.1, 0.91, 0.999], rtol=1e-6)


def test_metrics_are_what_they_say(one_device):
    states, metrics = one_device
    assert set(metrics[0]) == {"loss", "red", "grad_norm", "param_norm", "learning_rate"}
    squares = sum(float((x**2).sum()) for x in jax.tree.leaves(states[1].params))
    np.testing.assert_allclose(metrics[0]["param_norm"], np.sqrt(squares), rtol=1e-5)
    assert metrics[0]["learning_rate"] == np.float32(1e-2)
    assert [int(s.step) for s in states] == [0, 1, 2, 3, 4]


def test_what_is_frozen_gets_no_update_and_has_no_optimizer_state():
    optimizer = make_optimizer(
        "adamw", learning_rate=1e-2, steps=10, weight_decay=0.1, clip_norm=1.0, freeze="^(in|norm)/"
    )
    start = {"in/bias": jnp.full((128,), 0.5)}
    init = functools.partial(create_state, TinyStage(), optimizer)
    state = jax.jit(init)(jax.random.key(0), start)
    shardings = tree_shardings(state, ONE)
    step = make_train_step(
        TinyStage(), optimizer, mesh=ONE, state_shardings=shardings, ema_decay=0.9
    )
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state.opt_state)]
    assert any("mlp_up" in name for name in names)
    assert not any("'in'" in name or "norm" in name for name in names)
    before = jax.device_get(state)
    state, metrics = step(state, None, put_batch(next(Batches()), ONE), jax.random.key(1))
    after = jax.device_get(state)
    for name in before.params:
        for was, *now in zip(
            *map(jax.tree.leaves, (before.params[name], after.params[name], after.ema_params[name]))
        ):
            assert all((array == was).all() == (name in ("in", "norm")) for array in now), name
    np.testing.assert_array_equal(after.params["in"]["bias"], 0.5)
    assert 0 < metrics["grad_norm"] < np.inf


def test_state_is_donated():
    step, state, root_key = stepping(TinyStage())
    batch = put_batch(next(Batches()), ONE)
    new, _ = step(state, None, batch, root_key)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((new, batch)))


def test_given_rows_of_a_table_replace_its_random_ones():
    optimizer = make_optimizer(learning_rate=1e-2, steps=1)
    rows = Rows(jnp.array([2, 0]), jnp.stack([jnp.full((128,), 5.0), jnp.full((128,), 7.0)]))
    create = jax.jit(functools.partial(create_state, TinyStage(), optimizer))
    random = create(jax.random.key(0)).params["in"]["kernel"]
    for params in (
        create(jax.random.key(0), {"in/kernel": rows}).params,
        create(jax.random.key(0), {"in/kernel": rows}).ema_params,
    ):
        np.testing.assert_array_equal(params["in"]["kernel"][0], 7.0)
        np.testing.assert_array_equal(params["in"]["kernel"][1], random[1])
        np.testing.assert_array_equal(params["in"]["kernel"][2], 5.0)


def test_eval_step_is_the_loss_without_training():
    stage = TinyStage()
    params, batch, key = jax.jit(stage.init)(jax.random.key(0)), next(Batches()), jax.random.key(2)
    expected, metrics = jax.jit(functools.partial(stage.loss, train=False))(
        params, None, batch, key
    )
    values = make_eval_step(stage)(params, None, batch, key)
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["red"], metrics["red"], rtol=1e-5)
