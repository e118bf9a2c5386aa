"""Low-rank adapters as functions on trees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.training.lora import Adapted, adapted, init_adapters
from tests.training.tiny import Batches, TinyStage

PARAMS = {
    "dense": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones((6,))},
    "conv": {"kernel": jnp.ones((3, 3, 2, 5))},
    "blocks": {"out": {"kernel": jnp.ones((7, 4, 3))}, "norm": {"scale": jnp.ones((7, 4))}},
    "embedding": {"token": jnp.ones((7, 4))},
}


def test_each_kernel_has_two_matrices_and_nothing_else_has():
    adapters = init_adapters(jax.random.key(0), PARAMS, rank=2)
    assert jax.tree.map(jnp.shape, adapters) == {
        "dense": {"lora_a": (4, 2), "lora_b": (2, 6)},
        "conv": {"lora_a": (18, 2), "lora_b": (2, 5)},
        "blocks": {"out": {"lora_a": (7, 4, 2), "lora_b": (7, 2, 3)}},
    }
    jax.tree.map(np.testing.assert_array_equal, adapted(PARAMS, adapters, 3.0), PARAMS)
    wide = init_adapters(jax.random.key(0), {"kernel": jnp.ones((400, 9))}, rank=50)
    assert float(jnp.std(wide["lora_a"])) == pytest.approx(1 / 20, rel=0.05)


def test_the_product_is_added_as_a_matrix_of_all_other_axes_and_the_last():
    rng = np.random.default_rng(0)
    adapters = init_adapters(jax.random.key(0), PARAMS, rank=2)
    adapters = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), adapters)
    merged = jax.device_get(adapted(PARAMS, adapters, 3.0))
    a, b = (adapters["conv"][name] for name in ("lora_a", "lora_b"))
    wanted = 1 + 3 * np.einsum("hwir,ro->hwio", a.reshape(3, 3, 2, 2), b)
    np.testing.assert_allclose(merged["conv"]["kernel"], wanted, rtol=1e-5)
    a, b = (adapters["blocks"]["out"][name] for name in ("lora_a", "lora_b"))
    for block in range(7):
        wanted = 1 + 3 * a[block] @ b[block]
        np.testing.assert_allclose(merged["blocks"]["out"]["kernel"][block], wanted, rtol=1e-5)
    for unchanged in (("dense", "bias"), ("blocks", "norm"), ("embedding", "token")):
        one, other = unchanged
        jax.tree.map(np.testing.assert_array_equal, merged[one][other], PARAMS[one][other])


def test_the_first_loss_is_that_of_the_base_and_its_gradient_moves_b_only():
    stage = TinyStage()
    key, base, batch = jax.random.key(1), stage.init(jax.random.key(0)), next(Batches())
    adapters = Adapted(stage, rank=2, alpha=4.0)
    params = adapters.init(key)
    (loss, metrics), gradient = adapters.value_and_grad(params, {"base": base}, batch, key)
    assert loss == stage.loss(base, None, batch, key, train=True)[0] and "red" in metrics
    assert not jnp.any(gradient["mlp_up"]["lora_a"]) and jnp.any(gradient["mlp_up"]["lora_b"])


def test_a_stage_of_two_gradients_has_no_adapters():
    stage = TinyStage()
    stage.num_gradients = 2
    with pytest.raises(ValueError, match=r"set train\.lora\.rank or the stage's sam_radius to 0"):
        Adapted(stage, rank=2, alpha=4.0)
