import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.stages.decoder import Decoder
from dalle_jax.stages.images import layout_error, to_model_range
from dalle_jax.training.sharding import path_name
from tests.conftest import ROOT
from tests.random_params import random_params

MODEL = {
    "dtype": "float32",
    "scan_blocks": False,
    "image_size": 0,
    "text": {"width": 8, "depth": 1, "num_heads": 2},
    "image_embedding": {"num_tokens": 0},
    "layout": {"size": 0},
    "unet": {
        "channels": 8,
        "channel_mult": (1,),
        "num_res_blocks": 1,
        "attention_resolutions": (8,),
        "head_channels": 8,
        "norm_groups": 4,
    },
}


NO_TEXT = {**MODEL["text"], "depth": 0}
DIFFUSION = {
    "schedule": "cosine",
    "num_timesteps": 0,
    "learned_variance": False,
    "zero_terminal_snr": False,
}


LOSS = {
    "target": "v",
    "weighting": "simple",
    "log_normal_times": (),
    "caption_dropout": 0.5,
    "embedding_dropout": 0.1,
}


def decoder(target="v", weighting="simple", **model):
    return Decoder(
        model={**MODEL, **model},
        diffusion=DIFFUSION,
        loss={**LOSS, "target": target, "weighting": weighting},
        image_size=8,
        vocab_size=16,
        max_length=4,
    )


@functools.cache
def shared(target="v", weighting="simple"):
    """A decoder that several tests share, and with it what is compiled for it."""
    return decoder(target, weighting)


def some_params(stage):
    return jax.tree.map(lambda x: 0.5 * x, random_params(stage.init, jax.random.key(0)))


@functools.cache
def compiled(of, **settings):
    """In one program: op by op takes many times as long."""
    return jax.jit(functools.partial(of, **settings))


def loss_of(stage, params, batch, key, *, train):
    return compiled(stage.loss, train=train)(params, None, batch, key)


def batch_of(n):
    image = jax.random.randint(jax.random.key(1), (n, 8, 8, 3), 0, 256).astype(jnp.uint8)
    tokens = jax.random.randint(jax.random.key(2), (n, 4), 2, 16).at[:, 3].set(1)
    return {"image": image, "tokens": tokens}


def test_a_new_v_network_has_the_loss_of_predicting_zero():
    # E[v²] = alpha² + sigma² E[x_0²]; the new network says 0, and t is spread evenly.
    stage, batch = shared("v"), batch_of(400)
    params = jax.jit(stage.init)(jax.random.key(0))
    loss, _ = loss_of(stage, params, batch, jax.random.key(3), train=False)
    t = (np.arange(4000) + 0.5) / 4000
    alpha, sigma = stage.schedule.alpha(t), stage.schedule.sigma(t)
    power = np.mean((np.asarray(batch["image"], np.float64) / 127.5 - 1) ** 2)
    np.testing.assert_allclose(loss, np.mean(alpha**2 + sigma**2 * power), rtol=0.01)


@pytest.mark.parametrize("target", ["v", "x0", "eps"])
def test_training_and_sampling_read_the_network_alike(target):
    # A loss on x0 computed through the sampler's denoiser equals the training loss, carried over.
    stage, batch, key = shared(target, "snr"), batch_of(6), jax.random.key(3)
    params = some_params(stage)
    loss, _ = loss_of(stage, params, batch, key, train=False)

    from dalle_jax.diffusion import losses, training_times

    t_key, eps_key, _, _ = jax.random.split(key, 4)
    t = training_times.on_steps(training_times.stratified(t_key, 6), stage.schedule)
    x_0 = batch["image"].astype(jnp.float32) / 127.5 - 1
    x_t = losses.add_noise(x_0, jax.random.normal(eps_key, x_0.shape), stage.schedule, t)
    denoise = jax.jit(lambda p, x, t: stage.denoise(p, x, t, stage.encode(p, batch["tokens"])))
    x0_hat = denoise(params, x_t, t)
    snr = (stage.schedule.alpha(t) / stage.schedule.sigma(t)) ** 2
    expected = jnp.mean(snr * jnp.mean((x0_hat - x_0) ** 2, axis=(1, 2, 3)))
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def draw(stage, params, tokens, index, **settings):
    inputs = {"tokens": tokens, "sample_index": jnp.asarray(index)}
    settings = {"num_inference_steps": 4, "guidance_scale": 2.0, "sampler": "ddpm", **settings}
    return compiled(stage.sample, **settings)(params, inputs, jax.random.key(5))


def test_guidance_moves_away_from_the_negative_caption():
    stage = shared()
    params = some_params(stage)
    tokens = batch_of(2)["tokens"]
    inputs = {"tokens": tokens, "sample_index": jnp.arange(2), "negative_tokens": tokens}
    settings = {"num_inference_steps": 3, "sampler": "ddim"}
    key = jax.random.key(0)
    # Guidance away from the caption itself is no guidance at all.
    sample = lambda scale: jax.jit(
        functools.partial(stage.sample, guidance_scale=scale, **settings)
    )(params, inputs, key)
    same, plain = sample(4.0), sample(1)
    np.testing.assert_allclose(same, plain, atol=1e-4)


def test_guidance_acts_inside_its_interval_alone():
    stage = shared()
    params = some_params(stage)
    tokens = batch_of(2)["tokens"]
    guided = draw(stage, params, tokens, [0, 1], guidance_scale=4.0)
    plain = draw(stage, params, tokens, [0, 1], guidance_scale=1)
    nowhere = draw(stage, params, tokens, [0, 1], guidance_scale=4.0, guidance_interval=(1e6, 1e7))
    everywhere = draw(
        stage, params, tokens, [0, 1], guidance_scale=4.0, guidance_interval=(0.0, jnp.inf)
    )
    np.testing.assert_allclose(nowhere, plain, atol=1e-5)
    np.testing.assert_allclose(everywhere, guided, atol=1e-5)
    assert jnp.abs(guided - plain).max() > 1e-2


def test_thresholds_keep_images_in_range():
    stage = shared()
    params = jax.tree.map(lambda x: 3 * x, some_params(stage))
    tokens = batch_of(2)["tokens"]
    largest = {
        name: float(jnp.abs(draw(stage, params, tokens, [0, 1], threshold=name)).max())
        for name in ("static", "dynamic", "none")
    }
    # The sampler's last step is a sum, which rounds.
    rounded = 1 + np.finfo(np.float32).eps
    assert largest["static"] <= 1 and largest["dynamic"] <= rounded < largest["none"]
    with pytest.raises(ValueError, match='no threshold "hard"; known are static'):
        draw(stage, params, tokens, [0, 1], threshold="hard")


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="no noise schedule is called 'cosin'; known are"):
        Decoder(
            model=MODEL,
            diffusion={**DIFFUSION, "schedule": "cosin"},
            loss=LOSS,
            image_size=8,
            vocab_size=16,
            max_length=4,
        )


def captions_alone():
    """A decoder that reads no image embeddings."""
    return Decoder(
        model={
            **MODEL,
            "text": {"width": 16, "depth": 1, "num_heads": 2},
            "unet": {
                "channels": 8,
                "channel_mult": (1, 2),
                "num_res_blocks": 1,
                "attention_resolutions": (6,),
                "head_channels": 8,
                "patch_size": 2,
                "norm_groups": 4,
                "dropout": 0.0,
            },
        },
        diffusion=DIFFUSION,
        loss={**LOSS, "log_normal_times": (0.5, 1.2), "caption_dropout": 0.1},
        image_size=24,
        vocab_size=320,
        max_length=12,
    )


def test_decoders_of_captions_alone_stay_what_they_were():
    # The tree, the losses and the mean of a sample are what the stage gave in format 2 of runs.
    stage = captions_alone()
    abstract = jax.eval_shape(stage.init, jax.random.key(0))
    tree = [
        f"{path_name(path)} {'x'.join(map(str, x.shape))}"
        for path, x in jax.tree_util.tree_leaves_with_path(abstract)
    ]
    assert tree == (ROOT / "tests/stages/decoder_parameters.txt").read_text().splitlines()

    leaves, structure = jax.tree.flatten(abstract)
    wave = lambda x, i: 0.2 * np.sin(1 + 0.7 * np.arange(x.size) + i).reshape(x.shape)
    params = jax.tree.unflatten(
        structure, [wave(x, i).astype(np.float32) for i, x in enumerate(leaves)]
    )
    image = (np.arange(4 * 24 * 24 * 3) * 37 % 256).astype(np.uint8).reshape(4, 24, 24, 3)
    tokens = (np.arange(48) * 11 % 318 + 2).astype(np.int32).reshape(4, 12)
    batch = {"image": jnp.asarray(image), "tokens": jnp.asarray(tokens)}
    for train, loss in ((True, 0.6585317850112915), (False, 0.7448604106903076)):
        found, _ = loss_of(stage, params, batch, jax.random.key(3), train=train)
        np.testing.assert_allclose(found, loss, rtol=1e-6)
    inputs = {"tokens": batch["tokens"], "sample_index": jnp.arange(4)}
    settings = {
        "num_inference_steps": 2,
        "guidance_scale": 3.0,
        "guidance_interval": (0.1, 100.0),
        "guidance_rescale": 0.3,
        "sampler": "unipc",
    }
    sample = jax.jit(functools.partial(stage.sample, **settings))
    images = sample(params, inputs, jax.random.key(5))
    np.testing.assert_allclose(jnp.abs(images).mean(), 0.4116848111152649, rtol=1e-5)


def test_the_layouts_error_is_that_of_the_shrunk_image_whatever_its_brightness():
    x_0 = np.asarray(jax.random.uniform(jax.random.key(0), (1, 8, 8, 3)), np.float32)
    shrink = lambda channel: Image.fromarray(channel).resize((2, 2), Image.Resampling.BILINEAR)
    coarse = np.stack([shrink(x_0[0, :, :, c]) for c in range(3)], axis=-1)[None]
    coarse = coarse - coarse.mean((1, 2), keepdims=True)
    layout = np.asarray(jax.random.normal(jax.random.key(1), (1, 2, 2, 3)))
    expected = np.mean((layout - coarse) ** 2)
    np.testing.assert_allclose(layout_error(layout, x_0), expected, rtol=1e-4)
    np.testing.assert_allclose(layout_error(layout, x_0 + 0.3), expected, rtol=1e-4)
    assert layout_error(coarse, x_0) < 1e-10


def test_the_layout_learns_what_a_caption_says_of_places():
    """Two captions, one for images with a bright left half, one for a bright right half."""
    stage = decoder(layout={**MODEL["text"], "size": 2})
    image = np.zeros((8, 8, 8, 3), np.uint8)
    image[::2, :, :4] = image[1::2, :, 4:] = 200
    tokens = np.tile([[3, 1, 0, 0], [4, 1, 0, 0]], (4, 1)).astype(np.int32)
    batch = {"image": jnp.asarray(image), "tokens": jnp.asarray(tokens)}
    params = jax.jit(stage.init)(jax.random.key(0))
    own = {k: v for k, v in some_params(stage).items() if k.startswith("layout")}

    @jax.jit
    def step(own, key):
        def total(own):
            loss, metrics = stage.loss({**params, **own}, None, batch, key, train=False)
            return loss, metrics["layout"]

        (_, error), gradient = jax.value_and_grad(total, has_aux=True)(own)
        return jax.tree.map(lambda p, g: p - 0.3 * g, own, gradient), error, gradient

    errors = []
    for i in range(60):
        own, error, _ = step(own, jax.random.key(i))
        errors.append(float(error))
    assert errors[-1] < 0.05 * errors[0]
    # All of its gradient is its own error's: none comes through the U-Net, which is shown it.
    of_layout = jax.grad(
        lambda own: layout_error(
            stage.encode({**params, **own}, batch["tokens"]).layout,
            to_model_range(batch["image"]),
        )
    )
    alone = jax.jit(of_layout)(own)
    after = step(own, jax.random.key(0))[2]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after, alone)


def test_a_layout_takes_captions():
    with pytest.raises(ValueError, match="layout is predicted from the caption; set"):
        decoder(
            text=NO_TEXT, image_embedding={"num_tokens": 1}, layout={**MODEL["text"], "size": 2}
        )
