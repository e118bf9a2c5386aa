import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion import training_times as times

KEY = jax.random.key(0)


def test_stratified_has_one_t_in_each_stratum_and_is_uniform():
    t = np.asarray(times.stratified(KEY, 16))
    assert sorted(np.floor(t * 16).astype(int)) == list(range(16))
    many = np.asarray(jax.vmap(lambda k: times.stratified(k, 4))(jax.random.split(KEY, 4000)))
    histogram = np.histogram(many[:, 1], bins=10, range=(0, 1))[0]
    assert np.abs(histogram - 400).max() < 5 * 19  # five standard errors of a binomial


def test_steps_of_a_table_are_all_met_and_never_0():
    schedule = diffusion.discrete("cosine", 10)
    n = np.asarray(times.on_steps(jnp.linspace(0, 0.999, 1000), schedule)) * 10
    np.testing.assert_allclose(n, np.round(n), atol=1e-5)
    assert set(np.round(n).astype(int)) == set(range(1, 11))
    continuous = times.on_steps(jnp.array([0.0, 0.5]), diffusion.CONTINUOUS["cosine"]())
    assert float(continuous[0]) == pytest.approx(1e-3)


def test_log_normal_sigma():
    schedule = diffusion.CONTINUOUS["edm"]()
    t = times.log_normal(KEY, 20_000, schedule)
    log_sigma = np.log(np.asarray(schedule.sigma(t)))
    assert log_sigma.mean() == pytest.approx(-1.2, abs=5 * 1.2 / np.sqrt(20_000))
    assert log_sigma.std() == pytest.approx(1.2, rel=0.03)


def test_importance_is_uniform_until_every_bin_is_full():
    history = times.loss_history(4, length=2)
    np.testing.assert_allclose(times.importance_probabilities(history), 0.25)
    t = jnp.array([0.1, 0.1, 0.3, 0.3, 0.6, 0.6])
    history = times.update_history(history, t, jnp.arange(6.0))
    np.testing.assert_allclose(times.importance_probabilities(history), 0.25)
    np.testing.assert_array_equal(history.counts, [2, 2, 2, 0])


def test_importance_is_the_root_of_the_mean_square():
    history = times.loss_history(2, length=2)
    t = jnp.array([0.1, 0.2, 0.3, 0.7, 0.8])
    history = jax.jit(times.update_history)(history, t, jnp.array([9.0, 3.0, 4.0, 1.0, 1.0]))
    np.testing.assert_array_equal(history.losses, [[3, 4], [1, 1]])  # the 9 is forgotten
    p = np.array([np.sqrt(12.5), 1.0])
    expected = p / p.sum() * 0.999 + 0.0005
    np.testing.assert_allclose(times.importance_probabilities(history), expected, rtol=1e-6)


def test_importance_weights_keep_the_mean():
    history = times.loss_history(4, length=1)
    history = times.update_history(
        history, jnp.array([0.1, 0.3, 0.6, 0.9]), jnp.array([8.0, 4.0, 2.0, 1.0])
    )
    t, w = times.by_importance(KEY, 40_000, history)
    assert float(jnp.mean(w)) == pytest.approx(1, abs=0.03)
    assert float(jnp.mean(w * t)) == pytest.approx(0.5, abs=0.02)
    share = np.mean(np.asarray(t) < 0.25)
    assert share == pytest.approx(8 / 15 * 0.999 + 0.00025, abs=0.02)


def test_the_last_time_drawn_by_importance_is_a_step_of_the_chain(monkeypatch):
    last, largest = 999, np.float32(1 - 2**-23)
    assert np.float32(last) + largest == 1000  # what float32 makes of it
    monkeypatch.setattr(jax.random, "choice", lambda key, n, shape, p: jnp.full(shape, last))
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: jnp.full(shape, largest))
    t, _ = times.by_importance(KEY, 1, times.loss_history(1000))
    assert t[0] < 1 and times.on_steps(t, diffusion.discrete("linear"))[0] == 1
