import jax.numpy as jnp
import pytest

from configs import tiny
from dalle_jax.stages import build_stage
from dalle_jax.stages.dtypes import dtype_named


def test_by_name():
    assert dtype_named("float32") == jnp.float32 and dtype_named("bfloat16") == jnp.bfloat16


@pytest.mark.parametrize("name", ["float33", "int8", ""])
def test_another_is_refused_when_the_stage_is_built(name):
    config = tiny.get_config()
    config.decoder.model.dtype = name
    with pytest.raises(ValueError, match=f"computes in '{name}'; model.dtype is one of float32, b"):
        build_stage("decoder", config.to_dict())
