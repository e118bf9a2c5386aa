"""What every stage of the table guarantees, each as `configs/unclip_tiny.py` has it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.configs import features, unclip_tiny
from dalle_jax.stages import build_stage, upstream_of
from tests.stages.drawn import drawn

STAGES = ("classifier", "clip", "prior", "prior autoregressive", "decoder", "upsampler")


def config_of(label, dtype):
    """Half of everything is dropped in training, so that null embeddings are learned too."""
    name, *kind = label.split()
    config = (features if name == "classifier" else unclip_tiny).get_config()
    config.data.image_size = 24
    if name == "classifier":
        config.classifier.model.update(channels=8, channel_mult=(1, 2), norm_groups=4)
    if name == "prior":
        config.prior.kind = kind[0] if kind else "diffusion"
        config.prior.loss.text_dropout = 0.5
    if name == "decoder":
        config.decoder.loss.update(caption_dropout=0.5, embedding_dropout=0.5)
    config[name].model.dtype = dtype
    return name, config.to_dict()


@functools.cache
def batch():
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 200, (32, 12)).astype(np.int32)
    tokens[:16, 5:] = [1, 0, 0, 0, 0, 0, 0]
    tokens[16:, -1] = 1
    return {"image": rng.integers(0, 256, (32, 24, 24, 3), np.uint8), "tokens": tokens}


@functools.cache
def trained(label, dtype="float32"):
    """A stage, float32 parameters, and its (loss, gradient) of a training batch."""
    name, config = config_of(label, dtype)
    stage = build_stage(name, config)
    frozen = {other: drawn(build_stage(other, config)) for other in upstream_of(name, config)}
    stage.prepare(frozen, [batch()])
    params = drawn(stage) if dtype == "float32" else trained(label)[1]
    if "autoregressive" in label:
        params = {**params, "codec": jax.tree.map(jnp.asarray, stage.by.codec._asdict())}
    given = jax.tree.map(jnp.asarray, batch())
    step = jax.jit(lambda params: stage.value_and_grad(params, frozen, given, jax.random.key(1)))
    (loss, _), gradient = step(params)
    return stage, params, loss, gradient


@pytest.mark.parametrize("label", STAGES)
def test_the_loss_has_a_gradient_for_every_parameter(label):
    for path, g in jax.tree_util.tree_leaves_with_path(trained(label)[3]):
        path = jax.tree_util.keystr(path)
        assert jnp.any(g != 0) != ("codec" in path), path  # the codec is measured


@pytest.mark.parametrize("label", STAGES)
def test_bfloat16_compute_keeps_float32_parameters_and_a_close_loss(label):
    half, _, loss, _ = trained(label, "bfloat16")
    shapes = jax.tree.leaves(jax.eval_shape(half.init, jax.random.key(0)))
    assert {leaf.dtype for leaf in shapes} == {jnp.dtype("float32")}
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, trained(label)[2], rtol=0.05)
