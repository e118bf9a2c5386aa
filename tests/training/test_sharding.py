import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, path_name, put_batch, tree_shardings
from dalle_jax.training.state import create_state, init_state
from tests.training.tiny import TinyStage


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_minus_one_takes_the_rest():
    assert dict(make_mesh({"data": -1}).shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert dict(make_mesh({"data": 2, "fsdp": -1, "tensor": 2}).shape) == {
        "data": 2,
        "fsdp": 2,
        "tensor": 2,
    }


@pytest.mark.parametrize(
    "axes", [{"data": 3}, {"data": -1, "fsdp": 3}, {"data": -1, "fsdp": -1}, {"data": 0}, {}]
)
def test_a_mesh_that_does_not_fit_is_refused(axes):
    with pytest.raises(ValueError, match="does not cover 8 devices"):
        make_mesh(axes)


def test_an_unknown_axis_is_named():
    with pytest.raises(ValueError, match="'model' is unknown; the axes are data, fsdp, tensor"):
        make_mesh({"model": 8})


def test_rule():
    tree = {
        "mlp_in": {"kernel": shape(256, 1024), "bias": shape(1024)},
        "mlp_out": {"kernel": shape(1024, 256), "bias": shape(256)},
        "attention": {"qkv": {"kernel": shape(256, 768)}, "out": {"kernel": shape(256, 256)}},
        "conv_in": {"kernel": shape(3, 3, 128, 130)},
        "odd": {"kernel": shape(1001, 1003)},
        "norm": {"scale": shape(65536)},
        "embedding": {"token": shape(30000, 256)},
        "small": {"kernel": shape(3, 64)},
    }
    shardings = tree_shardings(tree, make_mesh({"data": 1, "fsdp": 2, "tensor": 4}))
    specs = {path_name(path): s.spec for path, s in jax.tree_util.tree_leaves_with_path(shardings)}
    assert specs == {
        "mlp_in/kernel": P("fsdp", "tensor"),
        "mlp_in/bias": P(),
        "mlp_out/kernel": P("tensor", "fsdp"),
        "mlp_out/bias": P(),
        "attention/qkv/kernel": P("fsdp", "tensor"),
        "attention/out/kernel": P("tensor", "fsdp"),
        "conv_in/kernel": P(None, None, None, "fsdp"),  # 130 is not a multiple of 4
        "odd/kernel": P(None, None),
        "norm/scale": P(),
        "embedding/token": P("fsdp", "tensor"),
        "small/kernel": P(),
    }


@pytest.mark.parametrize("axes", [{"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_stacked_blocks_are_cut_as_each_alone_would_be(axes):
    block = {
        "mlp_in": {"kernel": shape(64, 256), "bias": shape(256)},
        "mlp_out": {"kernel": shape(256, 64)},
        "attention": {"out": {"kernel": shape(128, 128)}, "qkv": {"kernel": shape(128, 129)}},
        "odd": {"kernel": shape(129, 131)},
        "small": {"kernel": shape(8, 8)},
        "norm": {"scale": shape(65536)},
    }
    depth = 1024  # more than any other axis, and a multiple of all sizes
    stack = jax.tree.map(lambda leaf: shape(depth, *leaf.shape), block)
    mesh = make_mesh(axes)
    alone = tree_shardings({"transformer": {"block_0": block}}, mesh)["transformer"]["block_0"]
    found = tree_shardings({"transformer": {"blocks": stack}}, mesh)["transformer"]["blocks"]
    specs = [[s.spec for s in jax.tree.leaves(tree)] for tree in (alone, found)]
    for leaf, own, of_stack in zip(jax.tree.leaves(block), *specs, strict=True):
        whole = all(name is None or mesh.shape[name] == 1 for name in own)
        assert of_stack == (P() if own == P() else P(None, *own))
        assert whole == (leaf.ndim == 1 or leaf.size < 2**14 or leaf.shape == (129, 131))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_every_array_of_the_state_is_covered_and_moments_lie_with_their_parameter(name):
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    optimizer = make_optimizer(name, learning_rate=1e-3, steps=1, clip_norm=1.0)
    init = functools.partial(create_state, TinyStage(), optimizer)
    state = jax.eval_shape(init, jax.random.key(0))
    shardings = tree_shardings(state, mesh)
    assert jax.tree.structure(shardings) == jax.tree.structure(state)
    found = {
        path_name(path): s.spec
        for path, s in jax.tree_util.tree_leaves_with_path(shardings)
        if path_name(path).endswith("mlp_up/kernel")
    }
    assert len(found) >= 3  # the parameter, its average, its moments
    assert set(found.values()) == {P("fsdp", "tensor")}


def test_a_state_is_born_sharded():
    mesh = make_mesh({"data": 1, "fsdp": 4, "tensor": 2})
    stage, optimizer = TinyStage(), make_optimizer(learning_rate=1e-3, steps=1)
    init = functools.partial(create_state, stage, optimizer)
    shardings = tree_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    state = init_state(init, jax.random.key(0), shardings)
    kernel = state.params["mlp_up"]["kernel"]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {(32, 64)}
    expected = jax.jit(stage.init)(jax.random.key(0))
    for params in (state.params, state.ema_params):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), params, expected
        )


def test_batch_lies_in_order_over_both_data_axes():
    mesh = make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    images = np.arange(8 * 3).reshape(8, 3)
    batch = put_batch({"image": images}, mesh)
    np.testing.assert_array_equal(batch["image"], images)
    assert {shard.data.shape for shard in batch["image"].addressable_shards} == {(2, 3)}
