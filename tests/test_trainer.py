"""Training as a function: what it gives, what it refuses and what it says it leaves out."""

import shutil

import jax
import numpy as np
import pytest

import dalle_jax
from dalle_jax.config.load import load_config
from dalle_jax.data.prefetch import Prefetch
from dalle_jax.runs import open_run
from dalle_jax.trainer.hooks import validation_size
from tests.conftest import ROOT, SMALLER


def tiny(shapes_dir, *overrides):
    return load_config(ROOT / "configs/tiny.py", [f"--config.data.dir={shapes_dir}", *overrides])


def test_a_held_out_loss_that_can_not_be_had_is_said(capsys):
    assert validation_size("clip", 512, 300, 128) == 256
    assert validation_size("clip", 0, 300, 128) == 0
    assert capsys.readouterr().out == ""
    assert validation_size("clip", 512, 40, 128) == 0
    assert "clip: validation is skipped: its 40 images do not fill" in capsys.readouterr().out
    assert validation_size("clip", 512, 0, 128) == 0
    assert "clip: the data has no items for validation" in capsys.readouterr().out
    assert validation_size("clip", 0, 0, 128) == 0
    assert capsys.readouterr().out == ""


def test_a_stage_that_the_config_lacks_is_refused(shapes_dir, tmp_path):
    with pytest.raises(ValueError, match="the config has no stage 'clip'; it has decoder"):
        dalle_jax.train(tiny(shapes_dir), tmp_path, stages=["clip"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_notebook_trains_in_parts_what_a_command_trains_at_once(one_device, shapes_dir, tmp_path):
    config = tiny(shapes_dir, *SMALLER)
    config.decoder.train.optimizer.decay = "constant"
    config.decoder.train.validation_images = 0
    params = {}
    for workdir, steps in (("parts", 2), ("parts", 4), ("whole", 4)):
        config.decoder.train.steps = steps
        runs = dalle_jax.train(config, tmp_path / workdir)
        assert list(runs) == ["decoder"] and runs["decoder"].step == steps
        params[workdir] = runs["decoder"].load_params()
    jax.tree.map(np.testing.assert_array_equal, *params.values())


@pytest.mark.slow
def test_a_finished_run_goes_on_with_other_settings_to_the_same_bits_however_it_is_stopped(
    one_device, shapes_dir, tmp_path, monkeypatch, capsys
):
    config = tiny(shapes_dir, *SMALLER)
    own = config.decoder.train
    own.steps, own.checkpoint_every, own.validation_images = 3, 2, 0
    before = dalle_jax.train(config, tmp_path / "whole")["decoder"].fingerprint
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    own.steps, own.batch_size = 8, 6
    own.optimizer.learning_rate, own.optimizer.decay = 1e-3, "linear"

    def go_on(workdir):
        return dalle_jax.train(config, tmp_path / workdir, from_step=3)["decoder"]

    capsys.readouterr()
    whole = go_on("whole")
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "decoder goes on from step 3 with batch_size 8 → 6, optimizer.decay cosine → linear" in said
    )
    assert "steps 3 → 8; the learning rate was 0.0024 in the last step and is 0.0002 in" in said
    params = whole.load_params()
    assert whole.step == 8 and whole.fingerprint != before

    make_next = Prefetch.__next__

    def lost_at_batch_6(batches):
        if batches.get_state()["next_index"] == 6:
            raise OSError("the disk is away")
        return make_next(batches)

    with monkeypatch.context() as patch:
        patch.setattr(Prefetch, "__next__", lost_at_batch_6)
        with pytest.raises(OSError, match="the disk is away"):
            go_on("parts")
    assert open_run(tmp_path / "parts/decoder").step == 6
    for lost in ("nothing", "checkpoints"):  # without any both phases are trained anew
        shutil.rmtree(tmp_path / "parts/decoder" / lost, ignore_errors=True)
        again = go_on("parts")
        assert again.fingerprint == whole.fingerprint
        jax.tree.map(np.testing.assert_array_equal, params, again.load_params())
