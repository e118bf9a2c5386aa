import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.models.conditioned_unet import ConditionedUNet
from tests.models.test_unet import SMALL, random
from tests.random_params import random_params

TEXT = {"vocab_size": 20, "max_length": 5, "width": 8, "depth": 1, "num_heads": 2}


def shapes(**settings):
    net = ConditionedUNet(unet=SMALL, **settings)
    inputs = (jnp.zeros((1, 8, 8, 3)), jnp.zeros(1), jnp.zeros((1, 5), int))
    embedding = (jnp.zeros((1, net.embedding_width)), jnp.zeros(1, bool))
    tree = jax.eval_shape(net.init, jax.random.key(0), *inputs, *embedding)["params"]
    return jax.tree.map(lambda x: x.shape, tree, is_leaf=lambda x: hasattr(x, "shape"))


def test_only_what_it_is_conditioned_on_has_parameters():
    assert set(shapes(text=TEXT)) == {"network", "text_transformer"}
    embedded = shapes(embedding_width=6)
    assert set(embedded) == {"network", "image_tokens", "null_image_embedding"}
    # Without captions the tokens are as wide as the timestep embedding.
    assert embedded["image_tokens"]["kernel"] == (6, 4 * 4 * 16)
    both = shapes(text=TEXT, embedding_width=6, num_image_tokens=3)
    assert both["image_tokens"]["kernel"] == (6, 3 * 8)
    assert both["network"]["pooled"]["kernel"] == (8 + 6, 4 * 16)
    drafted = shapes(text=TEXT, layout={**TEXT, "size": 2})
    assert drafted["layout_out"]["kernel"] == (8, 2 * 2 * 3)
    assert drafted["network"]["conv_in"]["kernel"] == (3, 3, 3 + 3, 16)


def test_a_dropped_embedding_is_forgotten():
    net = ConditionedUNet(unet=SMALL, text=TEXT, embedding_width=6)
    x_t, t, tokens = random(0, 2, 8, 8, 3), jnp.array([0.2, 0.7]), jnp.array([[4, 5, 1, 0, 0]] * 2)
    dropped = jnp.array([True, False])
    params = random_params(net.init, jax.random.key(0), x_t, t, tokens, random(1, 2, 6), dropped)
    text = net.apply(params, tokens, method="encode_text")
    encoded = jax.jit(lambda z: net.apply(params, text, z, dropped, method="encode"))
    encode = lambda seed: encoded(random(seed, 2, 6))
    one, other = encode(1), encode(2)
    for a, b in zip(one[:2], other[:2]):
        np.testing.assert_array_equal(a[0], b[0])
        assert jnp.abs(a[1] - b[1]).max() > 1e-3
