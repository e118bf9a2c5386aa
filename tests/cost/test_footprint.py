"""What a step takes by arithmetic, against devices, closed forms and the compiler."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from dalle_jax.cost.compiled import collectives, memory
from dalle_jax.cost.footprint import (
    device_bytes,
    gathered_arrays,
    gradient_residuals,
    num_bytes,
    traffic,
)
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import (
    BATCH,
    abstract_mesh,
    make_mesh,
    tree_shardings,
    with_shardings,
)
from dalle_jax.training.state import create_state, init_state
from dalle_jax.training.step import make_train_step
from tests.training.tiny import TinyStage

ADAMW = make_optimizer(learning_rate=1e-3, steps=1)


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_bytes_of_a_device_are_those_it_holds():
    axes = {"data": 2, "fsdp": 2, "tensor": 2}
    mesh, stage = make_mesh(axes), TinyStage()
    create = functools.partial(create_state, stage, ADAMW)
    state = jax.eval_shape(create, jax.random.key(0))
    real = init_state(create, jax.random.key(0), tree_shardings(state, mesh))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(real))
    assert device_bytes(state, mesh) == device_bytes(state, abstract_mesh(axes, 8)) == held
    assert held < num_bytes(state) / 2


def test_traffic_by_hand():
    params = {"mlp_in": {"kernel": shape(256, 1024), "bias": shape(1024)}}
    frozen = {"clip": {"kernel": shape(1024, 512)}}
    sent = traffic(params, frozen, abstract_mesh({"data": 2, "fsdp": 4}, 8))
    kernel, bias, other = 4 * 256 * 1024, 4 * 1024, 4 * 1024 * 512
    # Gathered for the forward and the backward pass; frozen weights have no backward pass.
    assert sent.gathered == 3 / 4 * (2 * kernel + other)
    assert sent.scattered == 3 / 4 * kernel
    # A quarter of the kernel's gradient over the two of data, all of the bias's over the eight.
    assert sent.reduced == 2 * (1 / 2 * kernel / 4 + 7 / 8 * bias)
    one = traffic(params, frozen, abstract_mesh({}, 1))
    assert one == (0, 0, 0)
    thrice = traffic(params, frozen, abstract_mesh({"data": 2, "fsdp": 4}, 8), gradients=3)
    np.testing.assert_allclose(thrice, 3 * np.array(sent))


def test_what_is_kept_is_told_apart_and_counted():
    width, batch = 8, 5
    params = {"w": shape(width, width)}

    def layer(x, w):
        return jnp.sin(x @ w)

    def loss(params, frozen, batch, key, wrap=lambda f: f):
        w = params["w"].astype(jnp.bfloat16)
        x = wrap(layer)(batch["x"].astype(jnp.bfloat16), w)
        return jnp.sum(wrap(layer)(x, w).astype(jnp.float32))

    given = (params, {}, {"x": shape(batch, width)}, jax.eval_shape(lambda: jax.random.key(0)))
    kept = gradient_residuals(loss, *given)
    # The weights in bfloat16; of each layer its input and the cosine of its product.
    assert kept == (2 * 2 * batch * width * 2, width * width * 2, 0)
    again = gradient_residuals(functools.partial(loss, wrap=jax.checkpoint), *given)
    # The inputs of both alone, and at work in one of them the cosine.
    assert again == (2 * batch * width * 2, width * width * 2, batch * width * 2)


def test_of_blocks_in_a_loop_one_is_at_work_and_gathered_at_a_time():
    depth, width, batch = 6, 8, 5

    def loss(params, frozen, batch, key):
        turn = jax.checkpoint(lambda x, w: (jnp.sin(x @ w), None))
        return jnp.sum(jax.lax.scan(turn, batch["x"], params["w"])[0])

    given = ({"w": shape(depth, width, width)}, {}, {"x": shape(batch, width)})
    kept = gradient_residuals(loss, *given, jax.eval_shape(lambda: jax.random.key(0)))
    # Each turn's input, and at work in one of them the cosine.
    assert kept == (4 * depth * batch * width, 0, 4 * batch * width)

    params = {"blocks": {"kernel": shape(depth, 256, 512)}, "in": {"kernel": shape(128, 128)}}
    mesh = abstract_mesh({"fsdp": 4}, 4)
    of_blocks, of_others = depth * [4 * 256 * 512], [4 * 128 * 128]
    assert gathered_arrays(params, mesh) == of_blocks + of_others
    assert gathered_arrays(params, mesh, stacked=True) == of_blocks
    assert gathered_arrays(params, mesh, stacked=False) == of_others


HLO = """HloModule jit_step, is_scheduled=true, num_partitions=8, replica_count=1
  %all-gather.3 = f32[128,128]{1,0} all-gather(%p), channel_id=1, replica_groups=[1,8]<=[8]
  %all-reduce = (f32[16]{0}, bf16[4,4]{1,0}) all-reduce(%a, %b), replica_groups={{0,1},{2,3}}
  %all-reduce.2 = f32[8]{0} all-reduce(%d), replica_groups=mesh['a'=2,'b'=3,'c'=4], \
device_ids=([2,12]T(1,0)) {'a','c':(1)2}, to_apply=%sum
  %collective-permute.1 = bf16[4,32]{1,0} collective-permute(%e), channel_id=4, \
source_target_pairs={{0,0},{1,2},{2,1},{3,3}}
  %all-reduce.3 = f32[] all-reduce(%f), channel_id=5, replica_groups={}, to_apply=%sum
  ROOT %add = f32[] add(%all-reduce, %c)
"""


def test_collectives_are_read_from_a_programs_text():
    found = collectives(HLO)
    assert found["all-gather"] == (1, 4 * 128 * 128, 7 / 8 * 4 * 128 * 128)
    # The last, of all eight devices, is that of one number.
    sent = 64 + 32 + 2 * 3 / 4 * 32 + 2 * 7 / 8 * 4
    assert found["all-reduce"] == (3, 64 + 32 + 32 + 4, sent)
    assert found["collective-permute"] == (1, 2 * 4 * 32, 2 * 4 * 32)
    assert set(found) == {"all-gather", "all-reduce", "collective-permute"}


def test_a_collective_that_is_not_understood_gets_a_sentence():
    with pytest.raises(ValueError, match=r"which devices it joins: %a = f32\[\] all-reduce"):
        collectives("  %a = f32[] all-reduce(%b), replica_groups=everybody\n")


class Rematerialized(TinyStage):
    def loss(self, params, frozen, batch, key, *, train):
        return jax.checkpoint(functools.partial(super().loss, train=train))(
            params, frozen, batch, key
        )


@pytest.mark.parametrize("kind, passes", [(TinyStage, 1), (Rematerialized, 2)])
def test_the_compiler_sends_and_holds_what_was_computed(kind, passes):
    mesh, stage = make_mesh({"data": 2, "fsdp": 4}), kind(width=512)
    state = jax.eval_shape(functools.partial(create_state, stage, ADAMW), jax.random.key(0))
    shardings = tree_shardings(state, mesh)
    step = make_train_step(stage, ADAMW, mesh=mesh, state_shardings=shardings, ema_decay=0.9)
    image = jax.ShapeDtypeStruct((1024, 4, 4, 3), jnp.uint8, sharding=NamedSharding(mesh, BATCH))
    key = jax.eval_shape(lambda: jax.random.key(0))
    program = step.lower(with_shardings(state, shardings), None, {"image": image}, key).compile()

    held = device_bytes(state, mesh) + 1024 * 48 // 8
    assert memory(program).arguments == pytest.approx(held, rel=1e-3)
    sent, found = traffic(state.params, {}, mesh), collectives(program.as_text())
    # What is not computed again is gathered once and kept.
    assert found["all-gather"].sent_bytes == pytest.approx(sent.gathered * passes / 2, rel=1e-3)
    # On CPUs a sum that is then cut stands for the scattering, and sends twice as much.
    summed = found["all-reduce"].sent_bytes
    assert summed == pytest.approx(2 * sent.scattered + sent.reduced, rel=1e-3)
