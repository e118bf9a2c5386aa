"""What is made of a caption does not depend on the length that captions are padded to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.configs import unclip_tiny
from dalle_jax.stages import build_stage
from tests.stages.drawn import drawn

SHORT, LONG = 16, 32
CAPTIONS = [[5, 9, 14, 1], [7, 1], [11, 3, 8, 8, 4, 2, 13, 6, 1], [1]]
SETTINGS = {
    "prior": {
        "num_candidates": 2,
        "guidance_scale": 2.0,
        "sampler": "ddim",
        "num_inference_steps": 3,
        "dot_percentile": 0.5,
    },
    "decoder": {"guidance_scale": 3.0, "sampler": "unipc", "num_inference_steps": 3},
}


def padded(length):
    tokens = np.zeros((len(CAPTIONS), length), np.int32)
    for row, caption in zip(tokens, CAPTIONS):
        row[: len(caption)] = caption
    return tokens


@functools.cache
def built(name, **changes):
    """A stage of unCLIP for captions of up to 32 tokens, and its parameters."""
    config = unclip_tiny.get_config()
    config.tokenizer.max_length = LONG
    config.update_from_flattened_dict(changes)
    stage = build_stage(name, config.to_dict())
    return stage, drawn(stage)


def close(made):
    """What is made at both lengths is the same, and not the same for all captions."""
    short, long = (jax.tree.leaves(made(padded(length))) for length in (SHORT, LONG))
    for a, b in zip(short, long):
        np.testing.assert_allclose(a, b, atol=2e-5)
        assert np.abs(a - a[:1]).max() > 1e-3


def inputs_of(tokens):
    return {
        "tokens": tokens,
        "sample_index": jnp.arange(len(tokens)),
        "image_embedding": jax.random.normal(jax.random.key(4), (len(tokens), 12)),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"decoder.model.image_embedding.num_tokens": 0},
        {"decoder.model.image_embedding.num_tokens": 0, "decoder.model.layout.size": 4},
        {},
    ],
    ids=["captions", "captions and a layout", "captions and image embeddings"],
)
def test_a_decoder_draws_the_same_images(changes):
    stage, params = built("decoder", **changes)
    sample = jax.jit(functools.partial(stage.sample, **SETTINGS["decoder"]))
    close(lambda tokens: sample(params, inputs_of(tokens), jax.random.key(5)))
    encode = jax.jit(stage.encode_text)
    close(lambda tokens: encode(params, tokens).pooled)


@pytest.mark.parametrize("kind", ["diffusion", "autoregressive"])
def test_clip_and_a_prior_make_the_same_embeddings(kind):
    (clip, of_clip), (prior, params) = built("clip"), built("prior", **{"prior.kind": kind})
    if kind == "autoregressive":  # a codec that was measured
        rng = np.random.default_rng(0)
        embeddings = rng.normal(size=(2, 64, 12)).astype(np.float32)
        prior.by.fit(*embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True))
        params = {**params, "codec": jax.tree.map(jnp.asarray, prior.by.codec._asdict())}
    encode = jax.jit(clip.sample)
    close(lambda tokens: encode(of_clip, {"tokens": tokens}, None)["text_embedding"])
    sample = jax.jit(functools.partial(prior.sample, **SETTINGS["prior"]))

    def made(tokens):
        text = encode(of_clip, {"tokens": tokens}, None)
        inputs = {**text, "tokens": tokens, "sample_index": jnp.arange(len(tokens))}
        return sample(params, inputs, jax.random.key(5))

    close(made)


def test_a_training_loss_is_the_same():
    stage, params = built("decoder", **{"decoder.model.image_embedding.num_tokens": 0})
    image = np.random.default_rng(0).integers(0, 256, (len(CAPTIONS), 24, 24, 3), np.uint8)
    loss = jax.jit(jax.value_and_grad(functools.partial(stage.loss, train=True), has_aux=True))
    made = [
        loss(params, None, {"image": image, "tokens": padded(length)}, jax.random.key(1))
        for length in (SHORT, LONG)
    ]
    np.testing.assert_allclose(made[0][0][0], made[1][0][0], rtol=1e-5)
    # But for the positions that no caption reaches, which have no gradient.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), made[0][1], made[1][1])
