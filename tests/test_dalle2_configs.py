"""Every config of configs/dalle2: the paper's size, and a train step that lowers on eight devices.

Nothing is computed or compiled: parameters and batches are shapes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from dalle_jax.config.load import load_config
from dalle_jax.stages import build_stage, data_of, upstream_of
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import BATCH, make_mesh, tree_shardings, with_shardings
from dalle_jax.training.state import create_state
from dalle_jax.training.step import make_train_step
from tests.conftest import ROOT

CONFIGS = sorted(p for p in (ROOT / "configs/dalle2").glob("*.py") if p.stem != "__init__")

# Table 3 of the paper; CLIP's and the priors' are in tests/configs/test_dalle2_prior.py.
PARAMETERS = {"decoder": 3.5e9, "upsampler_256": 700e6, "upsampler_1024": 300e6}


@functools.cache
def built(path):
    """A config's own stage, which is its last, by name; the stage; the whole config."""
    config = load_config(path)
    name = config.stages[-1]
    return name, build_stage(name, config), config


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("name", PARAMETERS)
def test_it_has_the_papers_number_of_parameters(name):
    _, stage, _ = built(ROOT / f"configs/dalle2/{name}.py")
    params = jax.eval_shape(stage.init, jax.random.key(0))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(params))
    np.testing.assert_allclose(count(params), PARAMETERS[name], rtol=0.1)


def by_length(path):
    """A U-Net of the paper's size takes half a minute to trace, the transformers a few seconds."""
    marks = [pytest.mark.long] if path.stem in PARAMETERS else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [by_length(path) for path in CONFIGS])
def test_its_train_step_lowers_with_sharded_parameters(path):
    name, stage, config = built(path)
    train, mesh = config[name].train, make_mesh({"fsdp": 8})
    optimizer = make_optimizer(**train.optimizer, steps=train.steps)
    state = jax.eval_shape(functools.partial(create_state, stage, optimizer), jax.random.key(0))
    shardings = tree_shardings(state, mesh)
    cut = [
        x.size
        for x, s in zip(jax.tree.leaves(state.params), jax.tree.leaves(shardings.params))
        if not s.is_fully_replicated
    ]
    assert sum(cut) > 0.99 * count(state.params)

    frozen = {
        other: jax.eval_shape(build_stage(other, config).init, jax.random.key(0))
        for other in upstream_of(name, config)
    }
    side = data_of(name, config)["image_size"]
    along = NamedSharding(mesh, BATCH)
    batch = {
        "image": jax.ShapeDtypeStruct((8, side, side, 3), jnp.uint8, sharding=along),
        "tokens": jax.ShapeDtypeStruct((8, config.tokenizer.max_length), int, sharding=along),
    }
    step = make_train_step(
        stage, optimizer, mesh=mesh, state_shardings=shardings, ema_decay=train.ema_decay
    )
    lowered = step.lower(
        with_shardings(state, shardings),
        with_shardings(frozen, tree_shardings(frozen, mesh)),
        batch,
        jax.random.key(0),
    )
    after, metrics = lowered.out_info
    assert count(after.params) == count(state.params)
    assert metrics["loss"].shape == ()
