import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dalle_jax.metrics.embeddings import prior_cosines
from dalle_jax.models import embedding_codec
from dalle_jax.models.clip import normalize
from dalle_jax.models.embedding_codec import Codec
from dalle_jax.models.prior import Text
from dalle_jax.stages.prior import Prior, drop_captions
from dalle_jax.stages.prior_autoregressive import dot_to_ask
from tests.random_params import random_params

D, L, K = 6, 4, 6
DOTS = (0.1, 0.3)
SIZES = {"width": 16, "depth": 1, "num_heads": 2}
KINDS = ["diffusion", "autoregressive"]
QUICK = {"xla_backend_optimization_level": 0}  # to compile: nothing here computes for long
FROZEN = {"clip": None}
CLASSES, PICTURES = np.arange(4), np.arange(8)


class Table:
    """A CLIP that knows four captions and two pictures of each by heart.

    Picture p is uint8 p and of caption p // 2; its dot product with it is DOTS[p % 2].
    """

    embedding_width, feature_width = D, 4

    def __init__(self):
        rng = np.random.default_rng(0)
        self.texts = unit(rng.normal(size=(4, D)))
        text, dot = self.texts[PICTURES // 2], np.array(DOTS)[PICTURES % 2, None]
        across = rng.normal(size=(8, D))
        across = unit(across - (across * text).sum(1, keepdims=True) * text)
        self.images = dot * text + np.sqrt(1 - dot**2) * across

    def encode_image(self, params, image):
        return jnp.asarray(self.images, jnp.float32)[image[:, 0, 0, 0]]

    def encode_text(self, params, tokens):
        text = jnp.asarray(self.texts, jnp.float32)[tokens[:, 0] - 2]
        return text, jax.nn.one_hot(tokens, 8)[..., 2:6]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def prior(kind, upstream=None, dropout=0.1, num_timesteps=0, dimensions=K):
    return Prior(
        kind=kind,
        model={
            "dtype": "float32",
            "scan_blocks": False,
            "text": SIZES,
            "latent": SIZES,
        },
        diffusion={"schedule": "cosine", "num_timesteps": num_timesteps},
        autoregressive={"num_dimensions": dimensions, "num_buckets": 16, "num_fitted": 12},
        loss={"text_dropout": dropout},
        image_size=8,
        vocab_size=16,
        max_length=L,
        upstream={"clip": upstream or Table()},
    )


def batch_of(pictures):
    pictures = np.asarray(pictures)
    tokens = np.zeros((len(pictures), L), np.int32)
    tokens[:, 0], tokens[:, 1] = pictures // 2 + 2, 1
    image = np.broadcast_to(pictures[:, None, None, None], (len(pictures), 2, 2, 3))
    return {"image": image.astype(np.uint8), "tokens": tokens}


@functools.cache
def stage_of(kind, **settings):
    stage = prior(kind, **settings)
    stage.prepare(FROZEN, [batch_of(np.arange(12) % 8)])
    return stage


@functools.cache
def params_of(stage):
    """Off every special start."""
    params = random_params(stage.init, jax.random.key(0))
    return params if stage.kind == "diffusion" else {**params, "codec": stage.by.codec._asdict()}


@functools.cache
def new_params(stage):
    return jax.jit(stage.init, compiler_options=QUICK)(jax.random.key(0))


@functools.partial(jax.jit, static_argnames=("stage", "train"), compiler_options=QUICK)
def loss_of(stage, params, batch, key, *, train):
    return stage.loss(params, FROZEN, batch, key, train=train)


@functools.partial(
    jax.jit, static_argnames=("stage", "num_candidates", "guidance_scale"), compiler_options=QUICK
)
def draw(stage, params, classes, index, *, num_candidates=1, guidance_scale=2.0, traced_scale=None):
    """Embeddings of captions of `classes`, by sample index."""
    tokens = jnp.zeros((len(classes), L), int).at[:, 0].set(classes + 2).at[:, 1].set(1)
    embedding, features = stage.clip.encode_text(None, tokens)
    inputs = {
        "tokens": tokens,
        "text_embedding": embedding,
        "text_features": features,
        "sample_index": index,
    }
    return stage.sample(
        params,
        inputs,
        jax.random.key(5),
        num_candidates=num_candidates,
        guidance_scale=guidance_scale if traced_scale is None else traced_scale,
        sampler="ddpm",
        num_inference_steps=3,
        dot_percentile=0.5,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_depends_on_its_caption_key_and_index_alone(kind):
    stage = stage_of(kind)
    params = params_of(stage)
    together = draw(stage, params, CLASSES, np.array([7, 3, 0, 9]), num_candidates=2)
    assert together.shape == (4, D) and together.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    alone = draw(stage, params, CLASSES[3:], np.array([9]), num_candidates=2)
    np.testing.assert_allclose(together[3:], alone, atol=1e-5)
    others = draw(stage, params, np.full(4, 3), np.arange(10, 14), num_candidates=2)
    assert np.abs(others - alone).max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_of_the_candidates_the_nearest_to_the_text_is_taken(kind):
    stage = stage_of(kind)
    draws = lambda index, n: draw(stage, params_of(stage), CLASSES, index, num_candidates=n)
    gains = []
    for i in range(4):
        index = np.arange(4 * i, 4 * i + 4)
        one, two = (np.sum(draws(index, n) * stage.clip.texts, axis=1) for n in (1, 2))
        gains.append(two - one)
    # The first candidate is the same however many are drawn; the second is better now and then.
    assert np.min(gains) > -1e-5
    assert 0 < np.mean(np.array(gains) > 1e-4) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_of_1_is_the_conditional_and_more_of_it_moves_the_sample(kind):
    stage = stage_of(kind)
    arguments = (stage, params_of(stage), CLASSES, CLASSES)
    plain = draw(*arguments, guidance_scale=1.0)
    # The number 1 leaves the unconditional half out; an array of 1 computes it.
    computed = draw(*arguments, traced_scale=np.float32(1))
    np.testing.assert_allclose(computed, plain, atol=1e-4)
    assert np.abs(draw(*arguments) - plain).max() > 1e-2


def test_drawing_with_the_cache_is_drawing_from_the_whole_sequence_anew():
    stage, scale = stage_of("autoregressive"), 2.0
    params = params_of(stage)
    index = np.array([4, 0, 9, 2])
    text = jax.jit(stage.embed)(FROZEN, batch_of(PICTURES[::2]))[1]
    codec = Codec(**params["codec"])
    key = jax.random.fold_in(jax.random.key(5), 0)  # of the first candidate
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
    dot = embedding_codec.encode_dot(codec, dot_to_ask(codec, keys, 0.5), 16)
    apply = jax.jit(functools.partial(stage.by.network.apply, {"params": params["network"]}))
    draw_bucket = jax.jit(
        jax.vmap(
            lambda key, k, logits: jax.random.categorical(jax.random.fold_in(key, k), logits),
            in_axes=(0, None, 0),
        )
    )
    buckets = np.zeros((4, K), np.int32)
    for k in range(K):
        conditional = apply(text, dot, buckets)[:, k]
        unconditional = apply(text.dropped(np.ones(4, bool)), dot, buckets)[:, k]
        logits = unconditional + scale * (conditional - unconditional)
        buckets[:, k] = draw_bucket(keys, k + 1, logits)
    expected = normalize(embedding_codec.decode(codec, buckets, 16))
    sample = draw(stage, params, CLASSES, index, guidance_scale=scale)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_dot_products_are_asked_for_from_the_share_above_a_percentile():
    rng = np.random.default_rng(0)
    image, text = np.asarray(normalize(rng.normal(size=(2, 500, D))))
    codec = embedding_codec.fit(image, text, K)
    dots = np.sort(np.sum(image * text, axis=1))
    keys = jax.random.split(jax.random.key(0), 400)
    ask = jax.jit(dot_to_ask)
    for percentile in (0.0, 0.5, 0.95):
        asked = np.asarray(ask(codec, keys, percentile))
        above = dots[dots >= np.quantile(dots, percentile) - 1e-6]
        assert above[0] - 0.02 <= asked.min() and asked.max() <= above[-1] + 1e-5
        np.testing.assert_allclose(asked.mean(), above.mean(), atol=4 * above.std() / 20)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_a_mapping_better_than_the_text_embedding_is(kind):
    stage = stage_of(kind)
    params = new_params(stage)
    optimizer = optax.adam(1e-2)
    batch = batch_of(np.arange(32) % 8)

    def step(carry, key):
        params, state = carry
        loss = lambda p: stage.loss(p, FROZEN, batch, key, train=True)[0]
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train(params):
        carry = (params, optimizer.init(params))
        return jax.lax.scan(step, carry, jax.random.split(jax.random.key(1), 300))[0][0]

    trained = train(params)
    indices = [np.arange(4 * i, 4 * i + 4) for i in range(4)]
    drawn = [draw(stage, trained, CLASSES, index, guidance_scale=1.0) for index in indices]
    drawn, classes = np.concatenate(drawn), np.tile(CLASSES, 4)
    nearest = np.argmax(drawn @ stage.clip.images.T, axis=1)
    cosines = prior_cosines(drawn, stage.clip.images[nearest], stage.clip.texts[classes])
    assert cosines["gain"].low > 0.4 and cosines["cosine_image"].low > 0.8
    # It is the caption that tells: draws are nearest to a picture of it, by chance a quarter were.
    of_caption = nearest // 2 == classes
    assert np.mean(of_caption) > 0.8

    _, metrics = loss_of(stage, trained, batch, jax.random.key(3), train=False)
    np.testing.assert_allclose(metrics["cosine_baseline"], np.mean(DOTS), rtol=1e-5)
    # Each caption has two pictures, of which a draw is one: half of the cosines are near 1.
    assert metrics["cosine_image"] > np.mean(DOTS) + 0.1
    if kind == "autoregressive":
        # Of a caption's two pictures, the one as near to it as was asked for.
        assert (nearest[of_caption] % 2 == 1).all()
        # What was measured is not trained.
        jax.tree.map(np.testing.assert_array_equal, trained["codec"], params["codec"])


def test_a_new_diffusion_prior_has_the_loss_of_predicting_zero():
    # x_0 has root mean square 0.5375 a number, by its scale.
    stage = stage_of("diffusion")
    loss, _ = loss_of(stage, new_params(stage), batch_of(CLASSES), jax.random.key(1), train=True)
    np.testing.assert_allclose(loss, 0.5375**2, rtol=1e-5)


def test_without_its_codec_an_autoregressive_prior_can_not_be_trained():
    stage = stage_of("autoregressive")
    params = params_of(stage)
    network = {**params["network"], "out": jax.tree.map(jnp.zeros_like, params["network"]["out"])}
    arguments = (batch_of(CLASSES), jax.random.key(1))
    loss, _ = loss_of(stage, {**params, "network": network}, *arguments, train=True)
    np.testing.assert_allclose(loss, np.log(16), rtol=1e-5)  # all buckets alike

    new = prior("autoregressive")
    codec = new.by.init(jax.random.key(0), stage.embed(FROZEN, arguments[0])[1])["codec"]
    loss, _ = loss_of(stage, {**params, "codec": codec}, *arguments, train=True)
    assert np.isnan(loss)
    with pytest.raises(ValueError, match="num_fitted asks for 12 training items, but there are 8"):
        new.prepare(FROZEN, [batch_of(CLASSES)] * 2)


def test_the_codec_is_measured_on_the_first_items():
    stage = prior("autoregressive")
    batches = (batch_of(pictures) for pictures in (PICTURES, PICTURES % 3, PICTURES))
    stage.prepare(FROZEN, batches)
    pictures = np.concatenate([PICTURES, PICTURES[:4] % 3])
    np.testing.assert_allclose(stage.by.codec.mean, stage.clip.images[pictures].mean(0), atol=1e-6)
    assert len(list(batches)) == 1  # the third batch was not asked for


def test_captions_are_dropped_at_the_stated_rate_and_in_training_alone():
    text = Text(jnp.zeros((4000, 1)), jnp.zeros((4000, 2, 1)), jnp.ones((4000, 2), bool))
    dropped = drop_captions(jax.random.key(0), text, 0.3)
    assert abs(1 - dropped.present.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)

    always = stage_of("diffusion", dropout=1.0)
    batch, key = batch_of(CLASSES), jax.random.key(0)
    other = {**batch, "tokens": batch["tokens"][::-1]}
    difference = {
        train: np.subtract(
            *(loss_of(always, params_of(always), b, key, train=train)[0] for b in (batch, other))
        )
        for train in (True, False)
    }
    assert abs(difference[True]) < 1e-6 and abs(difference[False]) > 1e-3


def test_an_embedding_has_no_more_dimensions_than_clip_gives():
    with pytest.raises(ValueError, match=f"is {D + 1}; it must be at most .*embedding_width, {D}"):
        prior("autoregressive", dimensions=D + 1)
    prior("diffusion", dimensions=D + 1)


def test_steps_of_a_table_are_taken_too():
    stage = stage_of("diffusion", num_timesteps=1000)
    assert stage.by.denoising.schedule.num_timesteps == 1000
    assert jnp.isfinite(draw(stage, params_of(stage), CLASSES, CLASSES)).all()


def test_no_candidates_are_none_to_choose_from():
    with pytest.raises(ValueError, match="num_candidates=0"):
        draw(stage_of("diffusion"), {}, CLASSES, CLASSES, num_candidates=0)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="no prior is of kind 'flow'; known are diffusion, auto"):
        prior("flow")
