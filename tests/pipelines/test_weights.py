import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.configs import unclip_tiny
from dalle_jax.pipelines.system import System, choose_weights
from dalle_jax.runs import Run
from dalle_jax.training.checkpoint import Checkpoints
from dalle_jax.training.state import TrainState

CONFIG = unclip_tiny.get_config().to_dict()


def run_of(directory, value):
    """A run whose raw weights are `value` and whose averaged ones are 0."""
    raw = {"layer": {"kernel": jnp.full((3, 2), value)}}
    averaged = {"layer": {"kernel": jnp.zeros((3, 2))}}
    checkpoints = Checkpoints(directory / "checkpoints")
    checkpoints.save(5, TrainState(jnp.int32(5), raw, averaged, {"mu": raw}), {})
    checkpoints.close()
    return Run(directory, "decoder", CONFIG)


def test_raw_weights_are_those_of_training_and_clip_keeps_its_average(tmp_path):
    run = run_of(tmp_path / "decoder", 7.0)
    np.testing.assert_array_equal(run.load_params("raw")["layer"]["kernel"], np.full((3, 2), 7.0))
    params = {"clip": "averaged", "decoder": run.load_params()}
    system = System({"clip": Run(tmp_path, "clip", CONFIG), "decoder": run}, {}, params)
    raw = choose_weights(system, "raw").params
    assert raw["clip"] == "averaged" and raw["decoder"]["layer"]["kernel"].min() == 7
    assert choose_weights(system, "ema") is system
    with pytest.raises(ValueError, match="weights are 'best'; known are ema, raw"):
        choose_weights(system, "best")


def test_those_of_joint_training_stand_in_for_both_stages(tmp_path):
    joint = dataclasses.replace(run_of(tmp_path / "joint", 3.0), stage_name="joint")
    system = System({"decoder": run_of(tmp_path / "decoder", 7.0), "joint": joint}, {}, {})
    raw = choose_weights(system, "raw").params
    assert raw["layer"]["kernel"].max() == 3  # a joint run's tree has the stages at its top
    assert raw["decoder"]["layer"]["kernel"].max() == 7
