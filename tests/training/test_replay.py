"""A diverged step, made again: what is not finite in it, and since when."""

import json
import re
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.cli import train
from dalle_jax.training.loop import Diverged
from dalle_jax.training.replay import read_batch, replay
from tests.conftest import ROOT, SMALLER
from tests.training.tiny import Batches, TinyStage, bad_gradient, fit_tiny, tiny_training


class BlackBatchBreaksBias(TinyStage):
    """A black batch makes the gradient of out/bias NaN, and nothing else."""

    def loss(self, params, frozen, batch, key, *, train):
        value, metrics = super().loss(params, frozen, batch, key, train=train)
        bad = jnp.where(batch["image"].max() == 0, jnp.nan, 0.0)
        return value + bad_gradient(params["out"]["bias"].sum(), bad), metrics


class UpdateBreaksLoss(TinyStage):
    """Any update makes the loss NaN, whatever the batch."""

    def loss(self, params, frozen, batch, key, *, train):
        value, metrics = super().loss(params, frozen, batch, key, train=train)
        moved = jnp.abs(params["out"]["bias"]).max() > 0  # it starts at 0
        return value + jnp.where(moved, jnp.nan, 0.0), metrics


def diverge(run_dir, stage, **batches):
    with pytest.raises(Diverged) as error:
        fit_tiny(run_dir, stage=stage, batches=Batches(**batches))
    (path,) = run_dir.glob("diverged_*.npz")
    assert str(path) in str(error.value)
    return path


def replayed(path, stage, capsys, **batches):
    capsys.readouterr()
    replay(tiny_training(path.parent, stage=stage, batches=Batches(**batches)), path)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def broken_by_its_batch(tmp_path_factory):
    return diverge(tmp_path_factory.mktemp("batch"), BlackBatchBreaksBias(), bad_at=7)


def test_a_batch_that_does_it_alone(broken_by_its_batch, capsys):
    before = sorted(map(str, broken_by_its_batch.parent.rglob("*")))
    said = replayed(broken_by_its_batch, BlackBatchBreaksBias(), capsys, bad_at=7)
    _, weights, *problems = said.splitlines()
    assert weights == "with the weights of step 5:"
    assert problems == ["  grad_norm is nan", "  gradient out/bias: 3 of 3 are not finite"]
    assert sorted(map(str, broken_by_its_batch.parent.rglob("*"))) == before


def test_what_a_run_has_saved_since_is_neither_read_nor_mended(
    broken_by_its_batch, tmp_path, capsys
):
    run = shutil.copytree(broken_by_its_batch.parent, tmp_path / "run")
    later = shutil.copytree(run / "checkpoints/5", run / "checkpoints/9")
    largest = max(later.rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"torn")  # a restart of the training would set it aside
    before = sorted(map(str, run.rglob("*")))
    said = replayed(run / broken_by_its_batch.name, BlackBatchBreaksBias(), capsys, bad_at=7)
    assert "with the weights of step 5:" in said
    assert sorted(map(str, run.rglob("*"))) == before


def test_weights_that_do_it_are_reached_again(tmp_path, capsys):
    path = diverge(tmp_path, UpdateBreaksLoss())
    assert path.name == "diverged_00000002.npz"
    said = replayed(path, UpdateBreaksLoss(), capsys).splitlines()
    assert said[1:3] == ["with the weights of step 0:", "  all finite"]
    assert "steps 1 to 1 are made again" in said[3]
    assert said[4:6] == ["with the weights of step 1:", "  loss is nan"]


def test_what_does_not_come_again_is_said(broken_by_its_batch, capsys):
    said = replayed(broken_by_its_batch, TinyStage(), capsys, bad_at=7)
    assert said.count("all finite") == 2 and "it does not come again" in said
    said = replayed(broken_by_its_batch, TinyStage(), capsys, bad_at=8)
    assert "the data gives another batch at step 8 now" in said


def test_shares_of_processes_are_put_together(tmp_path):
    whole = next(Batches())
    for p, rows in enumerate((slice(0, 8), slice(8, 16))):
        path = tmp_path / f"diverged_00000003_process{p}.npz"
        np.savez(path, **{name: array[rows] for name, array in whole.items()})
    step, batch = read_batch(path)
    assert step == 3
    np.testing.assert_array_equal(batch["image"], whole["image"])
    (tmp_path / "diverged_00000003_process0.npz").unlink()
    with pytest.raises(ValueError, match=r"there are only .*_process1\.npz"):
        read_batch(path)


def test_what_is_no_batch_of_the_run_gets_a_sentence(broken_by_its_batch, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"no batch .*diverged_00000009\.npz"):
        read_batch(tmp_path / "diverged_00000009.npz")
    other = shutil.copy(broken_by_its_batch, tmp_path / "batch.npz")
    with pytest.raises(ValueError, match=r"is not called diverged_STEP\.npz"):
        read_batch(other)
    path = tmp_path / "diverged_00000009.npz"
    whole = broken_by_its_batch.read_bytes()
    for content in (b"", whole[:100], whole[:-30], b"PK\x03\x04 nonsense", whole[50:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"diverged_00000009\.npz is"):
            read_batch(path)
    np.savez(path, image=np.zeros((4, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="give the --config, --workdir and --stage of the run"):
        replayed(path, TinyStage(), capsys)


@pytest.mark.long  # it compiles
def test_the_verb(one_device, tmp_path, shapes_dir, capsys):
    command = [
        f"--config={ROOT / 'configs/tiny.py'}",
        f"--workdir={tmp_path}",
        f"--config.data.dir={shapes_dir}",
        "--config.decoder.train.optimizer.learning_rate=1e38",
        "--config.decoder.train.optimizer.warmup_steps=0",
        "--config.decoder.train.validation_images=0",
        *SMALLER,
    ]
    with pytest.raises(Diverged, match=r"or train anew with a lower .*, in another --workdir"):
        train.run(command)
    (path,) = (tmp_path / "decoder").glob("diverged_*.npz")
    capsys.readouterr()
    assert train.run([*command, f"--replay={path}"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"with the weights of step 0:\n  param_norm is (inf|nan|\S+e\+\d+) after the", said
    )
    with pytest.raises(FileNotFoundError, match="holds no run"):
        train.run([*command, f"--replay={path}", f"--workdir={tmp_path / 'other'}"])
    assert not (tmp_path / "other").exists()


@pytest.mark.long  # it compiles
def test_a_run_that_has_finished_since_is_replayed_too(
    one_device, tiny_workdir, shapes_dir, capsys
):
    run = tiny_workdir / "decoder"
    tokens = json.loads((run / "config.json").read_text())["config"]["tokenizer"]["max_length"]
    path = run / "diverged_00000012.npz"
    np.savez(path, image=np.zeros((8, 24, 24, 3), np.uint8), tokens=np.zeros((8, tokens), np.int32))
    command = [
        f"--config={ROOT / 'configs/tiny.py'}",
        f"--workdir={tiny_workdir}",
        f"--config.data.dir={shapes_dir}",
        f"--replay={path}",
    ]
    capsys.readouterr()
    assert train.run(command) == 0
    said = capsys.readouterr().out
    assert "step 12 of" in said and "with the weights of step 10:" in said
    assert "trained to step" not in said
    assert "the data gives another batch at step 12 now" in said
