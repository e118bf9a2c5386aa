"""Rematerialized networks: the same parameters, loss and gradient, with less stored between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.unet import UNet
from dalle_jax.nn.remat import POLICIES, rematerialized
from dalle_jax.nn.transformer import Transformer

UNET = UNet(
    channels=8,
    channel_mult=(1,),
    num_res_blocks=1,
    attention_resolutions=(),
    head_channels=8,
    norm_groups=4,
    dropout=0.3,
)
TRANSFORMER = Transformer(depth=2, num_heads=2, causal=True)
SCANNED = Transformer(depth=2, num_heads=2, causal=True, scan_blocks=True)
X, CONTEXT = np.linspace(-1, 1, 2 * 4 * 4 * 3).reshape(2, 4, 4, 3), np.ones((2, 3, 8))


def unet(params):
    rngs = {"dropout": jax.random.key(1)}
    return UNET.apply({"params": params}, X, jnp.ones(2), None, CONTEXT, train=True, rngs=rngs)


def transformer(params):
    return TRANSFORMER.apply({"params": params}, CONTEXT, CONTEXT)


def scanned(params):
    return SCANNED.apply({"params": params}, CONTEXT, CONTEXT)


def shapes_of(network):
    key = jax.random.key(0)
    init = {
        unet: lambda: UNET.init(key, X, jnp.ones(2), None, CONTEXT),
        transformer: lambda: TRANSFORMER.init(key, CONTEXT, CONTEXT),
        scanned: lambda: SCANNED.init(key, CONTEXT, CONTEXT),
    }[network]
    return jax.eval_shape(init)["params"]


@pytest.mark.parametrize("network", [unet, transformer, scanned])
def test_less_is_stored_and_parameters_have_the_same_names(network):
    def stored(params) -> int:
        """Elements that the forward pass stores for the gradient, the parameters among them."""
        residuals = jax.eval_shape(lambda p: jax.vjp(lambda q: network(q), p)[1], params)
        return sum(x.size for x in jax.tree.leaves(residuals))

    shapes, elements = {}, {}
    for policy in POLICIES:
        with rematerialized(policy):
            shapes[policy] = shapes_of(network)
            elements[policy] = stored(shapes[policy])
    assert shapes["none"] == shapes["products"] == shapes["blocks"]
    assert elements["blocks"] < elements["products"] < elements["none"]


@pytest.mark.parametrize(
    "network, policy",
    [pytest.param(unet, "blocks", marks=pytest.mark.long), (transformer, "products")],
)
def test_value_and_gradient_are_the_same(network, policy):
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), shapes_of(network)
    )

    def loss(params):
        return jnp.mean(jnp.square(network(params)))

    expected, expected_gradient = jax.jit(jax.value_and_grad(loss))(params)
    with rematerialized(policy):
        value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p)))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4 * np.max(np.abs(b))),
        gradient,
        expected_gradient,
    )


def test_an_unknown_policy_is_refused():
    expected = r"'block'; choose one of none, products, blocks"
    with pytest.raises(ValueError, match=expected), rematerialized("block"):
        pass
