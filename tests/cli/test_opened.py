"""What evaluations in one process have in common."""

import shutil

import numpy as np
import pytest

from dalle_jax.cli.opened import Opened


def test_systems_of_the_same_runs_and_weights_share_a_pipeline(tiny_workdir, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "decoder").symlink_to(tiny_workdir / "decoder")
    shutil.copytree(tiny_workdir / "decoder", tmp_path / "copy/decoder")
    opened = Opened()
    pipe = opened.pipeline(tmp_path / "one", "ema")
    assert opened.pipeline(tmp_path / "two", "ema") is pipe
    raw = opened.pipeline(tmp_path / "two", "raw")
    assert raw is not pipe and raw.memo is not pipe.memo
    kernels = [
        np.asarray(p.system.params["decoder"]["network"]["conv_in"]["kernel"]) for p in (pipe, raw)
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0
    assert opened.pipeline(tmp_path / "copy", "raw") is not raw
    with pytest.raises(ValueError, match="weights are 'both'; known are ema, raw"):
        opened.pipeline(tmp_path / "copy", "both")
    with pytest.raises(FileNotFoundError):
        opened.pipeline(tmp_path / "none", "ema")
