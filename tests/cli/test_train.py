"""What `dalle-jax train` refuses before it writes anything, and what it says it leaves out."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from dalle_jax import trainer
from dalle_jax.cli import train
from dalle_jax.training.checkpoint import load_params
from dalle_jax.training.distributed import exclusive
from tests.conftest import ONE_DEVICE, ROOT, SMALLER


@pytest.mark.parametrize(
    "setting, message",
    [
        ("decoder.train.steps=-3", r"config\.decoder\.train\.steps is -3; it must be at least 1"),
        ("decoder.train.batch_size=0", "batch_size is 0"),
        ("decoder.train.log_every=0", "log_every is 0"),
        ("decoder.train.checkpoint_every=0", "checkpoint_every is 0"),
        ("decoder.model.dtype=float33", r"dtype is 'float33'; .* did you mean float32\?"),
        ("decoder.diffusion.schedule=cosin", r"schedule is 'cosin'; .* did you mean cosine\?"),
        ("decoder.sample.spacing=sections", 'spacing "sections" needs a discrete schedule'),
        ("data.source=imagenet", "no data set 'imagenet'"),
        ("data.image_size=16", "not prepared at 16 pixels"),
    ],
)
def test_a_mistake_leaves_no_run_behind(shapes_dir, tmp_path, setting, message):
    config = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.data.dir={shapes_dir}"]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train.run([*config, f"--workdir={tmp_path}", f"--config.{setting}"])
    assert not list(tmp_path.iterdir())


def begin(workdir, shapes_dir, **options):
    """Type the command of a training with some options of decoder.train."""
    typed = [f"--config={ROOT / 'configs/tiny.py'}", f"--config.data.dir={shapes_dir}"]
    typed += [f"--config.decoder.train.{name}={value}" for name, value in options.items()]
    return train.run([*typed, f"--workdir={workdir}", *SMALLER])


RARELY = {"checkpoint_every": 2, "preview_every": 100, "validation_images": 0}


def test_a_run_that_is_being_trained_is_left_to_whom_trains_it(shapes_dir, tmp_path, monkeypatch):
    def open_data(run, record):
        raise ValueError("the lock was free")

    monkeypatch.setattr(trainer, "open_data", open_data)
    code = (
        "import sys; from pathlib import Path\n"
        "from dalle_jax.training.distributed import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('holds it', flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "decoder")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ONE_DEVICE,
    )
    assert other.stdout.readline() == "holds it\n"
    with pytest.raises(
        ValueError, match=rf"decoder is being trained by \S+ process {other.pid}; wait for its end"
    ):
        begin(tmp_path, shapes_dir)
    other.kill()
    other.communicate()
    with pytest.raises(ValueError, match="the lock was free"):  # at once, as nothing holds it
        begin(tmp_path, shapes_dir)
    with exclusive(tmp_path / "decoder"):  # and an error gives it up
        pass


@pytest.mark.slow
def test_a_finished_training_whose_last_checkpoint_is_damaged_makes_it_again(
    one_device, shapes_dir, tmp_path, capsys
):
    train_on = lambda: begin(tmp_path, shapes_dir, steps=4, **RARELY)
    assert train_on() == 0
    checkpoints = tmp_path / "decoder/checkpoints"
    whole = load_params(checkpoints)
    largest = max((checkpoints / "4").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"is damaged: .*training's command again"):
        load_params(checkpoints)
    capsys.readouterr()
    assert train_on() == 0
    assert "goes on from step 2" in capsys.readouterr().err
    jax.tree.map(np.testing.assert_array_equal, load_params(checkpoints), whole)
    assert train_on() == 0
    assert "trained to step 4 already" in capsys.readouterr().out


@pytest.mark.long
def test_a_training_that_is_made_longer_is_the_one_that_was_so_long_from_the_start(
    one_device, shapes_dir, tmp_path
):
    def train_to(steps, workdir):
        options = {"steps": steps, "optimizer.decay": "constant", **RARELY}
        assert begin(workdir, shapes_dir, **options) == 0
        return load_params(workdir / "decoder/checkpoints")

    train_to(3, tmp_path / "longer")
    longer = train_to(5, tmp_path / "longer")
    jax.tree.map(np.testing.assert_array_equal, longer, train_to(5, tmp_path / "at_once"))
