"""Training as a function: what it gives, what it refuses and what it says it leaves out."""

import jax
import numpy as np
import pytest

import dalle_jax
from dalle_jax.config.load import load_config
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
