"""The decoder's network against one written in PyTorch, on the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange

from dalle_jax.configs import quickstart
from dalle_jax.models.conditioned_unet import ConditionedUNet
from tests.random_params import random_params

torch = pytest.importorskip("torch")

from tests.models import torch_unet  # noqa: E402

pytestmark = pytest.mark.parity

TINY = {
    "unet": {
        "channels": 8,
        "channel_mult": (1, 2),
        "num_res_blocks": 1,
        "attention_resolutions": (4,),
        "head_channels": 4,
        "patch_size": 1,
        "norm_groups": 4,
        "out_channels": 6,
    },
    "text": {"vocab_size": 20, "max_length": 5, "width": 8, "depth": 1, "num_heads": 2},
}


def of_quickstart():
    config = quickstart.get_config().to_dict()
    model, tokens = config["decoder"]["model"], config["tokenizer"]
    of_tokens = {name: tokens[name] for name in ("vocab_size", "max_length")}
    return {"unet": model["unet"], "text": {**model["text"], **of_tokens}}


def both(settings, side, batch=2):
    """The two networks with the same random weights, and inputs as each takes them."""
    text = settings["text"]
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, text["vocab_size"], (batch, text["max_length"]), dtype=np.int32)
    tokens[:, -2:] = 0  # padding
    x_t = rng.normal(size=(batch, side, side, 3)).astype(np.float32)
    t = rng.uniform(0.05, 0.95, batch).astype(np.float32)
    ours = ConditionedUNet(**settings)
    params = random_params(ours.init, jax.random.key(0), x_t, t, tokens)
    theirs = torch_unet.ConditionedUNet(side, **settings)
    theirs.load_state_dict(torch_unet.from_flax(params["params"]))  # strict: none more, none less
    as_torch = (rearrange(x_t, "b h w c -> b c h w").copy(), t, tokens)
    return ours, params, (x_t, t, tokens), theirs, tuple(map(torch.from_numpy, as_torch))


def to_flax_layout(y):
    return rearrange(y.detach(), "b c h w -> b h w c").numpy()


def assert_equal(y, expected):
    """To 1e-4 of the outputs' own size."""
    scale = expected.std()
    assert scale > 0.1
    np.testing.assert_allclose(y / scale, expected / scale, rtol=0, atol=1e-4)


def test_outputs_and_gradients_of_a_tiny_network_are_equal():
    ours, params, inputs, theirs, torch_inputs = both(TINY, 8)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        y = ours.apply(params, *inputs)
        return jnp.mean(jnp.square(y)), y

    gradients, y = gradient(params)
    expected = theirs(*torch_inputs)
    assert_equal(y, to_flax_layout(expected))
    expected.square().mean().backward()
    gradients = torch_unet.from_flax(gradients["params"])
    for name, parameter in theirs.named_parameters():
        scale = gradients[name].abs().max()
        assert scale > 0, name
        assert (parameter.grad - gradients[name]).abs().max() < 1e-3 * scale, name


def test_outputs_of_the_quickstarts_network_are_equal():
    ours, params, inputs, theirs, torch_inputs = both(of_quickstart(), 32)
    with torch.no_grad():
        expected = theirs(*torch_inputs)
    assert_equal(jax.jit(ours.apply)(params, *inputs), to_flax_layout(expected))
