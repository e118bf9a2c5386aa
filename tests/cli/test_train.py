"""What `dalle-jax train` refuses before it writes anything, and what it says it leaves out."""

import pytest

from dalle_jax.cli import train
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "knob, message",
    [
        ("decoder.train.steps=-3", r"config\.decoder\.train\.steps is -3; it must be at least 1"),
        ("decoder.train.batch_size=0", "batch_size is 0"),
        ("decoder.train.log_every=0", "log_every is 0"),
        ("decoder.train.checkpoint_every=0", "checkpoint_every is 0"),
        ("decoder.model.dtype=float33", "computes in 'float33'"),
        ("decoder.diffusion.schedule=cosin", "no noise schedule is called 'cosin'"),
        ("data.source=imagenet", "no data set 'imagenet'"),
        ("data.image_size=16", "not prepared at 16 pixels"),
    ],
)
def test_a_mistake_leaves_no_run_behind(shapes_dir, tmp_path, knob, message):
    config = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.data.dir={shapes_dir}"]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train.run([*config, f"--workdir={tmp_path}", f"--config.{knob}"])
    assert not list(tmp_path.iterdir())


def test_settings_of_sampling_are_tried_before_the_first_step(shapes_dir, tmp_path):
    config = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.data.dir={shapes_dir}"]
    with pytest.raises(ValueError, match='no sampler "ddmi"'):
        train.run([*config, f"--workdir={tmp_path}", "--config.decoder.sample.sampler=ddmi"])
    assert not (tmp_path / "decoder/metrics.jsonl").exists()


def test_a_held_out_loss_that_can_not_be_told_is_said(capsys):
    assert train.validation_size("clip", 512, 300, 128) == 256
    assert train.validation_size("clip", 0, 300, 128) == 0
    assert capsys.readouterr().out == ""
    assert train.validation_size("clip", 512, 40, 128) == 0
    assert "clip: no held-out loss is told, since its 40 images" in capsys.readouterr().out
