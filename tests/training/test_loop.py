"""The loop from outside: what it leaves on disk, how it goes on elsewhere, and what ends it."""

import threading

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from dalle_jax.training import events
from dalle_jax.training.checkpoint import load_params, steps_in
from dalle_jax.training.evaluate import evaluate
from dalle_jax.training.loop import Diverged, fit
from dalle_jax.training.optim import Optimizer, make_optimizer
from dalle_jax.training.training import Settings, Training
from tests.training.started import assert_equal, lines
from tests.training.tiny import Batches, TinyStage, bad_gradient, fit_tiny


def test_what_a_run_leaves(uninterrupted):
    run_dir, state = uninterrupted
    assert int(state.step) == 24
    assert_equal(load_params(run_dir / "checkpoints"), state.ema_params)
    logged = [line for line in lines(run_dir) if "loss" in line]
    assert [line["step"] for line in logged] == [4, 8, 12, 16, 20, 24]
    assert logged[-1]["loss"] < logged[0]["loss"]
    for line in logged:
        assert {"red", "grad_norm", "param_norm", "learning_rate"} < line.keys()
        assert line["images_per_second"] > 0
        assert 0 <= line["data_stall"] <= 1
    validated = [line for line in lines(run_dir) if "validation/loss" in line]
    assert [line["step"] for line in validated] == [8, 16, 24]
    previews = sorted(path.name for path in (run_dir / "samples").iterdir())
    assert previews == ["preview_00000012.png", "preview_00000024.png"]
    assert Image.open(run_dir / "samples" / previews[0]).size == (6, 4)
    assert list((run_dir / "tensorboard").iterdir())


def test_what_one_waits_for_and_where_pictures_are_is_said(tmp_path, capsys):
    fit_tiny(tmp_path, steps=12)
    said = capsys.readouterr().err
    assert said.index("compiling the training step, or reading it from the cache …") > 0
    assert f"step 12: {tmp_path}/samples/preview_00000012.png\n" in said


def test_a_finished_run_is_left_alone(uninterrupted):
    run_dir, state = uninterrupted
    before = (run_dir / "metrics.jsonl").read_bytes()
    assert_equal(fit_tiny(run_dir), state)
    assert (run_dir / "metrics.jsonl").read_bytes() == before


def test_goes_on_with_four_devices(uninterrupted, tmp_path, monkeypatch):
    seen = []

    class Seen(Batches):
        def __next__(self):
            seen.append(self.k)
            return super().__next__()

    fit_tiny(tmp_path, steps=12, batches=Seen())
    devices = jax.devices()[:4]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    state = fit_tiny(tmp_path, batches=Seen())
    assert all(leaf.devices() == set(devices) for leaf in jax.tree.leaves(state.params))
    assert seen == list(range(24))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=2e-5),
        state.params,
        uninterrupted[1].params,
    )


def test_goes_on_with_another_mesh(uninterrupted, tmp_path):
    fit_tiny(tmp_path, steps=12, mesh={"data": 8})
    # Half of a longer training, so the schedule's end is elsewhere: given by fit_tiny itself.
    state = fit_tiny(tmp_path, mesh={"data": 2, "fsdp": 2, "tensor": 2})
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=2e-5),
        state.params,
        uninterrupted[1].params,
    )


@pytest.mark.parametrize(
    "name, value, told",
    [("loss", np.nan, "nan"), ("grad_norm", np.nan, "nan"), ("grad_norm", 1e9, "17")],
)
def test_what_is_not_finite_or_explodes_stops_the_run(tmp_path, name, value, told):
    class Breaks(TinyStage):
        def loss(self, params, frozen, batch, key, *, train):
            usual, metrics = super().loss(params, frozen, batch, key, train=train)
            # A batch of one colour: its loss, or its gradient only, is that value.
            flat = batch["image"].max() == batch["image"].min()
            bad = jax.numpy.where(flat, value, 0.0)
            if name == "loss":
                return usual + bad, metrics
            weight = params["out"]["bias"].sum()
            return usual + bad_gradient(weight, bad), metrics

    batches = Batches(bad_at=13)
    with pytest.raises(
        Diverged, match=rf"{name} is {told}.* at step 14; .*checkpoint of step 10 is kept"
    ):
        fit_tiny(tmp_path, stage=Breaks(), batches=batches)
    assert steps_in(tmp_path / "checkpoints")[-1] == 10
    with np.load(tmp_path / "diverged_00000014.npz", allow_pickle=False) as batch:
        np.testing.assert_array_equal(batch["image"], np.zeros((16, 4, 4, 3), np.uint8))
    leaves = jax.tree.leaves(load_params(tmp_path / "checkpoints"))
    assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_an_update_that_explodes_is_not_saved(tmp_path):
    class Steep(TinyStage):
        def loss(self, params, frozen, batch, key, *, train):
            usual, metrics = super().loss(params, frozen, batch, key, train=train)
            flat = batch["image"].max() == batch["image"].min()
            gradient = jax.numpy.where(flat, 1e5, 0.0)  # less than what counts as exploded
            return usual + bad_gradient(params["out"]["bias"].sum(), gradient), metrics

    sgd = optax.sgd(1e3)

    def update(gradients, state, params=None):  # by the steep gradient alone
        steep = jax.tree.map(lambda g: jax.numpy.where(abs(g) > 1e4, g, 0.0), gradients)
        return sgd.update(steep, state, params)

    optimizer = Optimizer(sgd.init, update, lambda n: n)
    # The tenth step is one that is saved, and the loss before its update is like any other.
    with pytest.raises(Diverged, match=r"param_norm is .* at step 10; .*step 5 is kept"):
        fit_tiny(tmp_path, stage=Steep(), batches=Batches(bad_at=9), optimizer=optimizer)
    assert steps_in(tmp_path / "checkpoints") == [5]


def test_frozen_parameters_reach_the_loss_and_stay(tmp_path):
    class Shifted(TinyStage):
        def loss(self, params, frozen, batch, key, *, train):
            value, metrics = super().loss(params, frozen, batch, key, train=train)
            return value + frozen["shift"].sum(), metrics

    frozen = {"shift": jax.numpy.full((2,), 50.0)}
    fit_tiny(tmp_path, stage=Shifted(), frozen=frozen, steps=8)
    assert all(line.get("loss", 100.0) >= 100.0 for line in lines(tmp_path))
    np.testing.assert_array_equal(frozen["shift"], [50.0, 50.0])


def test_evaluate_weighs_by_size_and_leaves_nan_out():
    values = iter([{"loss": 1.0, "t0": np.nan}, {"loss": 4.0, "t0": 3.0}, {"loss": 2.0, "t0": 5.0}])
    batches = [{"image": np.zeros(n)} for n in (2, 4, 2)]
    result = evaluate(lambda *_: next(values), None, None, batches)
    assert result == {"loss": (2 + 16 + 4) / 8, "t0": (12 + 10) / 6}
    with pytest.raises(ValueError, match="validation gave no loss"):
        evaluate(None, None, None, [])


@pytest.mark.parametrize("lost", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_a_validation_with_a_loss_of_nan_is_nan_not_the_mean_of_the_others(lost):
    values = iter({"loss": np.nan if i in lost else 1.0, "t0": np.nan} for i in range(3))
    result = evaluate(lambda *_: next(values), None, None, [{"image": np.zeros(2)}] * 3)
    assert np.isnan(result["loss"]) and np.isnan(result["t0"])


def test_a_checkpoint_of_another_model_is_refused(uninterrupted, tmp_path):
    fit_tiny(tmp_path, steps=4)
    with pytest.raises(ValueError, match="another model or optimizer"):
        fit_tiny(tmp_path, stage=TinyStage(width=64))


def test_off_the_main_thread(tmp_path):
    done = []
    thread = threading.Thread(target=lambda: done.append(fit_tiny(tmp_path, steps=4)))
    thread.start()
    thread.join()
    assert int(done[0].step) == 4


def test_fit_needs_no_validation_or_preview(tmp_path):
    optimizer = make_optimizer(learning_rate=1e-3, steps=2)
    settings = Settings(steps=2, ema_decay=0.9, log_every=1)
    state = fit(Training(TinyStage(), Batches(), tmp_path, optimizer, settings))
    assert int(state.step) == 2
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_evaluation_is_of_the_ema_weights_of_its_step(tmp_path):
    seen = {}

    def evaluation(params, step, wait):
        seen[step] = jax.tree.map(np.asarray, params)
        return {"oracle/caption": 0.5}

    state = fit_tiny(tmp_path, steps=5, hooks={"evaluation": evaluation}, evaluate_every=2)
    assert list(seen) == [2, 4, 5]
    assert_equal(seen[5], state.ema_params)
    logged = [line for line in lines(tmp_path) if "evaluation/oracle/caption" in line]
    assert [line["step"] for line in logged] == [2, 4, 5]


def test_the_best_checkpoint_is_kept_over_a_restart(tmp_path, monkeypatch):
    losses = iter([2.0, 1.0, 3.0, 4.0, 5.0, 6.0])
    monkeypatch.setattr(events, "evaluate", lambda *_: {"loss": next(losses)})
    often = {"validate_every": 2, "checkpoint_every": 2, "keep_checkpoints": 1}
    fit_tiny(tmp_path, steps=6, **often)
    assert steps_in(tmp_path / "checkpoints") == [4, 6]
    fit_tiny(tmp_path, steps=12, **often)
    assert steps_in(tmp_path / "checkpoints") == [4, 12]
