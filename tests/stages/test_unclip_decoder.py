"""The decoder conditioned on CLIP image embeddings, with captions and without."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.models.conditioned_unet import Condition
from dalle_jax.stages.decoder import Decoder
from tests.stages.drawn import drawn
from tests.stages.test_decoder import DIFFUSION, MODEL, NO_TEXT, batch_of

WIDTH = 6


class MeanColour:
    """A CLIP whose embedding is a projection of the mean colour."""

    embedding_width = WIDTH

    def encode_image(self, params, image):
        z = jnp.mean(image.astype(jnp.float32) / 127.5 - 1, axis=(1, 2)) @ params["projection"]
        return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


FROZEN = {"clip": {"projection": jax.random.normal(jax.random.key(4), (3, WIDTH))}}


def decoder(*, text=True, learned_variance=False, drop=(0.5, 0.1), **model):
    model = {**MODEL, "image_embedding": {"num_tokens": 4}, **model}
    if not text:
        model["text"] = NO_TEXT
    return Decoder(
        model=model,
        diffusion={
            **DIFFUSION,
            "num_timesteps": 8 if learned_variance else 0,
            "learned_variance": learned_variance,
        },
        loss={
            "target": "eps" if learned_variance else "v",
            "weighting": "simple",
            "log_normal_times": (),
            "caption_dropout": drop[0],
            "embedding_dropout": drop[1],
        },
        image_size=8,
        vocab_size=16,
        max_length=4,
        upstream={"clip": MeanColour()},
    )


@functools.cache
def built(**settings):
    stage = decoder(**settings)
    return stage, drawn(stage)


@functools.cache
def compiled(function, **settings):
    return jax.jit(functools.partial(function, **settings))


def unit(seed, n):
    z = jax.random.normal(jax.random.key(seed), (n, WIDTH))
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def draw(stage, params, n=2, index=None, guidance_scale=2.0, **inputs):
    inputs = {"image_embedding": unit(1, n), "tokens": batch_of(n)["tokens"], **inputs}
    inputs["sample_index"] = jnp.arange(n) if index is None else jnp.asarray(index)
    settings = {"num_inference_steps": 3, "sampler": "ddim", "guidance_scale": guidance_scale}
    return compiled(stage.sample, **settings)(params, inputs, jax.random.key(5))


def test_clip_is_upstream_only_where_its_embeddings_are_read():
    assert Decoder.upstream_of({"model": MODEL}) == ()
    embedded = {**MODEL, "image_embedding": {"num_tokens": 4}}
    assert Decoder.upstream_of({"model": embedded}) == ("clip",)


def test_four_tokens_follow_the_captions_and_the_embedding_is_pooled():
    stage, params = built()
    tokens, z = batch_of(3)["tokens"], unit(1, 3)
    condition = stage.encode(params, tokens, z)
    assert condition.context.shape == (3, 4 + 4, 8)
    assert condition.pooled.shape == (3, 8 + WIDTH)
    np.testing.assert_allclose(condition.pooled[:, 8:], np.sqrt(WIDTH) * z, rtol=1e-6)


@pytest.mark.parametrize("which", ["tokens", "image_embedding"])
def test_each_condition_matters_to_its_own_sample_alone(which):
    stage, params = built()
    x_t, t = jax.random.normal(jax.random.key(0), (3, 8, 8, 3)), jnp.array([0.2, 0.5, 0.8])
    inputs = {"tokens": batch_of(3)["tokens"], "image_embedding": unit(1, 3)}
    other = {"tokens": inputs["tokens"] % 13 + 2, "image_embedding": unit(2, 3)}
    changed = {**inputs, which: inputs[which].at[1].set(other[which][1])}
    denoised = jax.jit(lambda inputs: stage.denoise(params, x_t, t, stage.encode(params, **inputs)))
    y, z = denoised(inputs), denoised(changed)
    apart = np.abs(y - z).max(axis=(1, 2, 3))
    assert apart[1] > 1e-3
    np.testing.assert_allclose(apart[[0, 2]], 0, atol=1e-5)


@pytest.mark.parametrize("part", ["pooled", "context"])
def test_the_embedding_enters_by_both_doors(part):
    stage, params = built(text=False)
    x_t, t = jax.random.normal(jax.random.key(0), (1, 8, 8, 3)), jnp.array([0.5])
    one, two = (stage.encode(params, image_embedding=unit(seed, 1)) for seed in (1, 2))
    mixed = Condition(**{**one._asdict(), part: getattr(two, part)})
    denoise = compiled(stage.denoise)
    difference = denoise(params, x_t, t, mixed) - denoise(params, x_t, t, one)
    assert jnp.abs(difference).max() > 1e-3


def test_without_text_captions_are_not_read():
    stage, params = built(text=False)
    assert not any("text" in name for name in params)
    images = draw(stage, params)
    np.testing.assert_array_equal(draw(stage, params, tokens=batch_of(2)["tokens"] + 1), images)
    np.testing.assert_array_equal(draw(stage, params, tokens=None), images)
    loss, _ = compiled(stage.loss, train=True)(params, FROZEN, batch_of(4), jax.random.key(0))
    assert jnp.isfinite(loss)


def test_stored_embeddings_give_the_same_loss():
    stage, params = built()
    batch, key = batch_of(4), jax.random.key(3)
    stored = {**batch, "image_embedding": MeanColour().encode_image(FROZEN["clip"], batch["image"])}
    other = {**stored, "image_embedding": unit(9, 4)}
    for train in (True, False):
        loss = compiled(stage.loss, train=train)
        computed, _ = loss(params, FROZEN, batch, key)
        np.testing.assert_allclose(loss(params, None, stored, key)[0], computed, rtol=1e-5)
        assert jnp.abs(loss(params, None, other, key)[0] - computed) > 1e-5


class Recorder:
    """In a network's place: remembers what it was to encode and predicts 0."""

    def __init__(self, network):
        self.text, self.embedding_width = network.text, network.embedding_width

    def apply(self, variables, *args, method, **_):
        if method == "predict":
            return jnp.zeros_like(args[0])
        if method == "encode_text":
            (self.tokens,) = map(np.asarray, args)
        else:
            self.dropped = np.asarray(args[2])
        return Condition(pooled=None, context=None, mask=None)


def test_caption_and_embedding_are_dropped_apart_from_each_other():
    stage, n = decoder(), 4000
    stage.network = recorder = Recorder(stage.network)
    batch = {"image": jnp.zeros((n, 8, 8, 3), jnp.uint8), "tokens": jnp.full((n, 4), 5)}
    batch["image_embedding"] = unit(1, n)
    stage.loss({}, None, batch, jax.random.key(0), train=True)
    caption, embedding = (recorder.tokens == [1, 0, 0, 0]).all(axis=1), recorder.dropped
    for share, dropped in ((0.5, caption), (0.1, embedding), (0.05, caption & embedding)):
        assert abs(dropped.mean() - share) < 4 * np.sqrt(share * (1 - share) / n)
    stage.loss({}, None, batch, jax.random.key(0), train=False)
    assert not recorder.dropped.any() and (recorder.tokens == 5).all()


def test_guidance_leads_away_from_the_null_embedding_and_the_empty_caption_together():
    stage, params = built()
    tokens, z = batch_of(2)["tokens"], unit(1, 2)
    dropped = stage.encode(params, tokens, z, jnp.ones(2, bool))
    null = params["null_image_embedding"]
    np.testing.assert_allclose(dropped.pooled[:, 8:], jnp.stack([null, null]), rtol=1e-6)
    # One step of DDIM ends on the guided x0 of the noise, which is worked out here by hand.
    inputs = {"tokens": tokens, "image_embedding": z, "sample_index": jnp.arange(2)}
    settings = {"num_inference_steps": 1, "sampler": "ddim", "threshold": "none"}
    sample = compiled(stage.sample, guidance_scale=3.0, **settings)
    image = sample(params, inputs, jax.random.key(5))
    from dalle_jax import diffusion

    x_T = diffusion.initial_noise(jax.random.key(5), jnp.arange(2), (8, 8, 3))
    empty = jnp.array([[1, 0, 0, 0]] * 2)
    uncond = stage.encode(params, empty, image_embedding=jnp.stack([null, null]) / np.sqrt(WIDTH))
    c, u = (
        compiled(stage.denoise)(params, x_T, jnp.ones(2), condition)
        for condition in (stage.encode(params, tokens, z), uncond)
    )
    np.testing.assert_allclose(image, u + 3 * (c - u), rtol=1e-4, atol=1e-3)


def test_the_null_embedding_acts_in_guidance_alone():
    stage, params = built(text=False)
    other = {**params, "null_image_embedding": params["null_image_embedding"] + 1}
    plain = draw(stage, params, guidance_scale=1)
    np.testing.assert_array_equal(draw(stage, other, guidance_scale=1), plain)
    assert jnp.abs(draw(stage, other) - draw(stage, params)).max() > 1e-3


def test_a_sample_depends_on_its_own_condition_and_index_alone():
    stage, params = built()
    tokens, z = batch_of(4)["tokens"], unit(1, 4)
    together = draw(stage, params, 4, [7, 3, 0, 9], tokens=tokens, image_embedding=z)
    alone = draw(stage, params, 1, [9], tokens=tokens[3:], image_embedding=z[3:])
    np.testing.assert_allclose(together[3:], alone, atol=1e-5)


def test_a_learned_variance_is_drawn_with():
    stage, params = built(learned_variance=True)
    assert params["network"]["conv_out"]["bias"].shape == (6,)
    inputs = {"tokens": batch_of(2)["tokens"], "image_embedding": unit(1, 2)}
    inputs["sample_index"] = jnp.arange(2)
    settings = {"num_inference_steps": 4, "sampler": "ddpm", "guidance_scale": 2.0}
    draw = lambda variance: compiled(stage.sample, variance=variance, **settings)(
        params, inputs, jax.random.key(0)
    )
    images = draw("learned")
    assert images.shape == (2, 8, 8, 3) and jnp.all(jnp.isfinite(images))
    assert jnp.abs(images - draw("fixed_small")).max() > 1e-3


def test_larger_images_are_shrunk_to_the_decoders_size():
    stage, params = built(image_size=4)
    batch, key = batch_of(3), jax.random.key(0)
    stored = {**batch, "image_embedding": unit(1, 3)}
    loss = lambda batch: compiled(stage.loss, train=False)(params, None, batch, key)[0]
    blocks = np.asarray(batch["image"], np.float64).reshape(3, 4, 2, 4, 2, 3).mean((2, 4))
    small = {**stored, "image": jnp.asarray(np.rint(blocks), jnp.uint8)}
    np.testing.assert_allclose(loss(small), loss(stored), rtol=1e-5)
    assert draw(stage, params).shape == (2, 4, 4, 3)


def test_a_preview_draws_from_the_batchs_own_embeddings():
    stage, params = built()
    batch = batch_of(2)
    settings = {"num_inference_steps": 3, "sampler": "ddim", "guidance_scale": 2.0}
    preview = compiled(stage.preview, **settings)(params, FROZEN, batch, jax.random.key(5))
    z = MeanColour().encode_image(FROZEN["clip"], batch["image"])
    expected = draw(stage, params, tokens=batch["tokens"], image_embedding=z)
    np.testing.assert_allclose(preview, expected, atol=1e-4)
    other = draw(stage, params, tokens=batch["tokens"], image_embedding=unit(9, 2))
    assert jnp.abs(preview - other).max() > 1e-2


@pytest.mark.parametrize("shape, told", [((2, 5), r"given \[2, 5\]"), (None, "given none")])
def test_embeddings_of_another_clip_are_refused(shape, told):
    stage, params = built()
    embedding = None if shape is None else jnp.zeros(shape)
    with pytest.raises(ValueError, match=rf"embeddings \[B, {WIDTH}\] and was {told}"):
        draw(stage, params, image_embedding=embedding)


def test_a_decoder_of_captions_asks_for_them():
    stage, params = built()
    with pytest.raises(ValueError, match="reads captions; give `tokens`"):
        draw(stage, params, tokens=None)


def test_a_decoder_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"set model\.text\.depth or model\.image_embedding"):
        decoder(text=False, image_embedding={"num_tokens": 0})
