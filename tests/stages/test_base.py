import pytest

from dalle_jax.configs import tiny
from dalle_jax.stages import build_stage


@pytest.mark.parametrize("name", ["float33", "int8", ""])
def test_a_dtype_that_no_network_computes_in_is_refused_when_the_stage_is_built(name):
    config = tiny.get_config()
    config.decoder.model.dtype = name
    with pytest.raises(ValueError, match=f"computes in '{name}'; model.dtype is one of float32, b"):
        build_stage("decoder", config.to_dict())
