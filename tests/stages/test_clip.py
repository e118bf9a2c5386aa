import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax.stages.clip import Clip, contrastive_loss
from dalle_jax.training.sharding import make_mesh, put_batch
from tests.random_params import random_params

MODEL = {
    "dtype": "float32",
    "scan_blocks": False,
    "image_size": 8,
    "embedding_width": 6,
    "image": {"patch_size": 4, "width": 8, "depth": 1, "num_heads": 2},
    "text": {"width": 8, "depth": 1, "num_heads": 2},
}


@functools.cache
def stage():
    return Clip(
        model=MODEL,
        loss={"sam_radius": 0.0},
        image_size=8,
        vocab_size=16,
        max_length=4,
    )


def batch_of(n):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    tokens = rng.integers(2, 16, (n, 4)).astype(np.int32)
    tokens[:, 3] = 1
    return {"image": image, "tokens": tokens}


@functools.cache
def params_of():
    params = random_params(stage().init, jax.random.key(1))
    return {**params, "log_scale": -jnp.log(0.07)}


@functools.partial(jax.jit, static_argnums=0)
def loss_of(clip, params, batch):
    return clip.loss(params, None, batch, jax.random.key(0), train=True)


def test_the_loss_is_both_cross_entropies():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 5, 3))
    expected = 0.0
    for i in range(5):
        for a, b in ((image, text), (text, image)):
            scores = np.exp(7.0 * b @ a[i])
            expected -= np.log(scores[i] / scores.sum()) / 10
    loss, logits = contrastive_loss(*map(jnp.asarray, (image, text)), 7.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(logits, 7.0 * image @ text.T, rtol=1e-5)


def test_the_loss_knows_pairs_and_not_their_order():
    clip, batch = stage(), batch_of(6)
    params = params_of()
    order = np.array([3, 1, 5, 0, 2, 4])
    loss, metrics = loss_of(clip, params, batch)
    together, same = loss_of(clip, params, {k: v[order] for k, v in batch.items()})
    np.testing.assert_allclose(together, loss, rtol=1e-5)
    np.testing.assert_allclose(
        same["image_to_text_accuracy"], metrics["image_to_text_accuracy"], rtol=1e-5
    )
    torn, _ = loss_of(clip, params, {**batch, "tokens": batch["tokens"][order]})
    assert abs(torn - loss) > 1e-2


def test_eight_devices_have_the_loss_and_gradient_of_one():
    clip, batch = stage(), batch_of(16)
    params = params_of()
    gradient = jax.jit(jax.value_and_grad(lambda p, b: loss_of(clip, p, b)[0]))
    one, slope = gradient(params, put_batch(batch, make_mesh({"data": 1}, jax.devices()[:1])))
    cut = put_batch(batch, make_mesh({"data": 4, "fsdp": 2}))
    assert {s.data.shape[0] for s in cut["image"].addressable_shards} == {2}
    eight, slope_of_eight = gradient(params, cut)
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), slope_of_eight, slope)
    # Eight losses of two pairs each would be another number.
    apart = [gradient(params, {k: v[i : i + 2] for k, v in batch.items()})[0] for i in (0, 2, 4)]
    assert max(apart) < one - 0.5


def test_equal_captions_count_as_found():
    clip, batch = stage(), batch_of(8)
    params = params_of()
    batch["tokens"][:] = batch["tokens"][:1]
    _, metrics = loss_of(clip, params, batch)
    assert metrics["image_to_text_accuracy"] == metrics["text_to_image_accuracy"] == 1


def test_larger_images_are_shrunk_and_others_refused():
    clip = stage()
    params = params_of()
    image = batch_of(2)["image"]
    twice = image.repeat(2, axis=1).repeat(2, axis=2)
    encode = jax.jit(clip.encode_image)
    np.testing.assert_allclose(encode(params, twice), encode(params, image), atol=1e-5)
    with pytest.raises(ValueError, match="12×12 pixels can't be cut into 8×8"):
        encode(params, np.zeros((1, 12, 12, 3), np.uint8))


def test_sample_gives_the_embeddings_of_what_is_given():
    clip, batch = stage(), batch_of(3)
    params = params_of()
    sample = jax.jit(clip.sample)
    out = sample(params, batch, jax.random.key(0))
    image = jax.jit(clip.encode_image)(params, batch["image"])
    np.testing.assert_allclose(out["image_embedding"], image, atol=1e-6)
    embedding, features = jax.jit(clip.encode_text)(params, batch["tokens"])
    np.testing.assert_allclose(out["text_embedding"], embedding, atol=1e-6)
    np.testing.assert_allclose(out["text_features"], features, atol=1e-5)
    only = jax.eval_shape(sample, params, {"image": batch["image"]}, jax.random.key(0))
    assert set(only) == {"image_embedding"}
