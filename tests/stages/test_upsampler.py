import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dalle_jax.models.unet
import dalle_jax.nn.residual
from dalle_jax.diffusion import losses, training_times
from dalle_jax.stages.images import enlarge, to_model_range
from dalle_jax.stages.upsampler import Upsampler
from tests.stages.drawn import drawn

UNET = {"channels": 8, "channel_mult": (1, 2), "num_res_blocks": 1, "norm_groups": 4}
BLUR = {"name": "blur", "kernel_size": 3, "sigma": (0.4, 0.6), "share": 1.0}


def upsampler(*, resize="bicubic", image_size=16, crop_size=8, blur=BLUR, **unet):
    return Upsampler(
        model={"dtype": "float32", "low_res_size": 8, "resize": resize, "unet": {**UNET, **unet}},
        diffusion={"schedule": "cosine", "num_timesteps": 0, "learned_variance": False},
        loss={
            "target": "v",
            "weighting": "simple",
            "log_normal_times": (),
            "crop_size": crop_size,
            "degradation": blur,
        },
        image_size=image_size,
        vocab_size=16,
        max_length=4,
    )


def built(**settings):
    stage = upsampler(**settings)
    return stage, drawn(stage)


@pytest.fixture(scope="module")
def default():
    return built()


@functools.cache
def compiled(function, **settings):
    return jax.jit(functools.partial(function, **settings))


def random_image(seed, *shape):
    return jax.random.randint(jax.random.key(seed), shape, 0, 256).astype(jnp.uint8)


def draw(stage, params, low_res, index=None, **settings):
    index = jnp.arange(len(low_res)) if index is None else jnp.asarray(index)
    settings = {"num_inference_steps": 3, "sampler": "ddim", **settings}
    inputs = {"low_res": low_res, "sample_index": index}
    return compiled(stage.sample, **settings)(params, inputs, jax.random.key(5))


def test_it_has_no_attention():
    names = jax.tree_util.keystr
    params = jax.eval_shape(upsampler().init, jax.random.key(0))
    paths = [names(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    assert paths and not any("attention" in path for path in paths)


def test_whole_images_of_any_size(default):
    stage, params = default
    assert draw(stage, params, random_image(0, 2, 8, 8, 3)).shape == (2, 16, 16, 3)
    images = draw(stage, params, random_image(0, 2, 10, 13, 3))
    assert images.shape == (2, 20, 26, 3) and images.dtype == jnp.float32
    assert jnp.abs(images).max() <= 1


def test_bytes_and_floats_are_the_same_small_image(default):
    stage, params = default
    low_res = random_image(0, 2, 8, 8, 3)
    images = draw(stage, params, low_res)
    np.testing.assert_allclose(draw(stage, params, to_model_range(low_res)), images, atol=1e-5)


def test_a_sample_depends_on_its_small_image_and_index_alone(default):
    stage, params = default
    low_res = random_image(0, 4, 8, 8, 3)
    together = draw(stage, params, low_res, [7, 3, 0, 9], sampler="ddpm")
    alone = draw(stage, params, low_res[3:], [9], sampler="ddpm")
    np.testing.assert_allclose(together[3:], alone, atol=1e-5)
    assert jnp.abs(draw(stage, params, low_res[3:], [10], sampler="ddpm") - alone).max() > 1e-2
    other = draw(stage, params, low_res.at[1].set(255 - low_res[1]), [7, 3, 0, 9], sampler="ddpm")
    apart = np.abs(other - together).max(axis=(1, 2, 3))
    assert apart[1] > 1e-2
    np.testing.assert_allclose(apart[[0, 2, 3]], 0, atol=1e-5)


def test_training_reads_the_network_as_sampling_does():
    # The loss without corruption, computed again through the denoiser that the sampler is given.
    stage, params = built(crop_size=16)
    image, key = random_image(0, 3, 16, 16, 3), jax.random.key(3)
    loss, _ = compiled(stage.loss, train=False)(params, None, {"image": image}, key)
    blocks = np.asarray(image, np.float64).reshape(3, 8, 2, 8, 2, 3).mean((2, 4))
    low_res = jnp.asarray(np.rint(blocks), jnp.float32) / 127.5 - 1
    t_key, eps_key, *_ = jax.random.split(key, 5)
    schedule, x_0 = stage.denoising.schedule, to_model_range(image)
    t = training_times.on_steps(training_times.stratified(t_key, 3), schedule)
    eps = jax.random.normal(eps_key, x_0.shape)
    x_t = losses.add_noise(x_0, eps, schedule, t)
    x0_hat = compiled(stage.denoise)(params, x_t, t, enlarge(low_res, 2, "bicubic"))
    # v = alpha eps − sigma x_0 has the error of x_0 over sigma.
    errors = jnp.mean((x0_hat - x_0) ** 2, axis=(1, 2, 3)) / schedule.sigma(t) ** 2
    np.testing.assert_allclose(loss, jnp.mean(errors), rtol=2e-3)


def test_small_images_are_corrupted_in_training_alone():
    stage, params = built()
    calls = []
    stage.degrade = lambda key, images: calls.append(images.shape) or images
    batch, key = {"image": random_image(0, 2, 16, 16, 3)}, jax.random.key(1)
    trace = lambda function, *inputs, **settings: jax.eval_shape(
        functools.partial(function, **settings), params, *inputs
    )
    trace(stage.loss, None, batch, key, train=True)
    assert calls == [(2, 8, 8, 3)]
    trace(stage.loss, None, batch, key, train=False)
    low_res = {"low_res": random_image(0, 2, 8, 8, 3), "sample_index": jnp.arange(2)}
    trace(stage.sample, low_res, key, num_inference_steps=2, sampler="ddim")
    trace(stage.preview, None, batch, key, num_inference_steps=2, sampler="ddim")
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["blur", "bsr"])
def test_corruption_reaches_the_loss(name):
    bsr = {"sigma": (0.5, 1.0), "scale": (0.5, 1.0), "noise": (5.0, 25.0), "quality": (30.0, 95.0)}
    blur = BLUR if name == "blur" else {"name": "bsr", "kernel_size": 3, **bsr}
    none, params = built(blur={"name": "none"})
    some, _ = built(blur=blur)
    batch, key = {"image": random_image(0, 4, 16, 16, 3)}, jax.random.key(1)
    loss = lambda stage, train: compiled(stage.loss, train=train)(params, None, batch, key)[0]
    assert jnp.abs(loss(some, True) - loss(none, True)) > 1e-4
    np.testing.assert_allclose(loss(some, False), loss(none, False), rtol=1e-6)


def test_a_preview_is_the_images_shrunk_and_drawn_again(default):
    stage, params = default
    image = random_image(0, 2, 8, 8, 3).repeat(2, 1).repeat(2, 2)
    settings = {"num_inference_steps": 3, "sampler": "ddim"}
    preview = compiled(stage.preview, **settings)
    preview = preview(params, None, {"image": image}, jax.random.key(5))
    expected = draw(stage, params, image[:, ::2, ::2], **settings)
    np.testing.assert_allclose(preview, expected, atol=1e-5)


class Affine(nn.Module):
    """Group norm without its statistics, which are those of the whole picture."""

    groups: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return (x * scale[None, None, None] + bias[None, None, None]).astype(self.dtype)


def test_but_for_norm_statistics_a_crop_sees_what_the_whole_sees(monkeypatch):
    monkeypatch.setattr(dalle_jax.models.unet, "GroupNorm", Affine)
    monkeypatch.setattr(dalle_jax.nn.residual, "GroupNorm", Affine)
    stage, params = built(channels=4)
    key = jax.random.key(2)
    x_t, enlarged = (0.3 * jax.random.normal(k, (1, 104, 8, 3)) for k in jax.random.split(key))
    t = jnp.array([0.5])
    denoise = jax.jit(stage.denoise)
    whole = denoise(params, x_t, t, enlarged)
    part = denoise(params, x_t[:, 8:96], t, enlarged[:, 8:96])
    # 10 rows at full and 12 at half resolution: what a pixel sees on each side, in whole pairs.
    reach = 10 + 2 * 12 + 2
    inner = slice(8 + reach, 96 - reach)
    np.testing.assert_allclose(part[:, reach:-reach], whole[:, inner], atol=1e-5)
    assert jnp.abs(part - whole[:, 8:96]).max() > 1e-4  # at its border it can't


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"image_size": 20}, "can't make images of 20 pixels from 8"),
        ({"image_size": 8}, "can't make images of 8 pixels from 8"),
        ({"crop_size": 9}, "crops of 9 pixels don't fit images of 16 on a grid of 2"),
        ({"crop_size": 32}, "crops of 32 pixels don't fit images of 16"),
    ],
)
def test_sizes_that_do_not_fit_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        upsampler(**settings)


def test_guidance_and_unknown_resizes_are_refused():
    stage, params = built(resize="sinc")
    low_res = random_image(0, 1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"guidance_scale is 3\.0 and can only be 1"):
        draw(stage, params, low_res, guidance_scale=3.0)
    with pytest.raises(ValueError, match='no resize "sinc"'):
        draw(stage, params, low_res)
