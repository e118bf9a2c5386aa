"""A pipeline whose stages draw without a network: compiled in a moment, with everything around."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp

from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.diffusion import guidance
from dalle_jax.models.conditioned_unet import Condition
from dalle_jax.pipelines.system import System
from dalle_jax.pipelines.text_to_image import DallePipeline
from dalle_jax.stages.base import Stage
from dalle_jax.stages.decoder import Decoder
from dalle_jax.stages.denoising import Denoising, schedule_named
from dalle_jax.stages.prior import Prior
from dalle_jax.stages.upsampler import Upsampler

CAPTIONS = [
    f"a {size} {color} {shape}"
    for size in ("large", "small")
    for color in ("red", "blue")
    for shape in ("circle", "star")
]


class StandInDecoder(Stage):
    """Draws a colour that the caption's tokens say, with the real checks and samplers."""

    takes, gives, reads_captions = ("tokens", "sample_index"), ("image",), True
    image_shape = (4, 4, 3)
    check_settings = Decoder.check_settings

    def __init__(self):
        self.denoising = Denoising(schedule_named("cosine"), target="x0", weighting="simple")
        self.calls = 0

    def encode_text(self, params, tokens):
        shade = jnp.sin(params["w"] * (tokens @ jnp.arange(1.0, tokens.shape[1] + 1)))
        return Condition(pooled=shade[:, None], context=None, mask=None)

    def sample(self, params, inputs, key, *, guidance_scale, guidance_rescale=0.0, **settings):
        self.calls += 1  # once a compilation

        def denoise(x_t, t, shade):
            return jnp.broadcast_to(shade[..., None, None], x_t.shape) + 0.3 * jnp.tanh(x_t)

        shades = (inputs[name].pooled for name in ("text", "negative_text"))
        denoiser = guidance.classifier_free(denoise, *shades, guidance_scale)
        return self.denoising.sample(
            denoiser, key, inputs["sample_index"], self.image_shape, **settings
        )


def make_pipeline(folder: Path, weight: float = 1.0) -> DallePipeline:
    """A pipeline with a stand-in decoder alone."""
    tokenizer = Tokenizer(train_tokenizer(iter(CAPTIONS), 280), 8)
    tokenizer.save(folder / "tokenizer.json")
    defaults = {"sampler": "unipc", "num_inference_steps": 4, "guidance_scale": 1.5}
    run = SimpleNamespace(
        directory=folder,
        tokenizer_path=folder / "tokenizer.json",
        words_path=folder / "words.json",
        config={"decoder": {"sample": defaults}, "licence": "CC0"},
        data={"image_size": 4},
        checkpoint_name=f"0123456789ab step {weight}",
    )
    params = {"w": jnp.asarray(weight)}
    return DallePipeline(
        System({"decoder": run}, {"decoder": StandInDecoder()}, {"decoder": params})
    )


class CheckedPrior(Stage):
    """The settings of a diffusion prior, whose `sample` is never called."""

    takes, gives = Prior.takes, Prior.gives
    sample = Prior.sample
    check_settings = Prior.check_settings

    def __init__(self, kind="diffusion"):
        self.kind = kind
        self.by = SimpleNamespace(denoising=StandInDecoder().denoising)


class CheckedUpsampler(Stage):
    """The settings of an upsampler, whose `sample` is never called."""

    takes, gives = Upsampler.takes, Upsampler.gives
    sample = Upsampler.sample
    check_settings = Upsampler.check_settings

    def __init__(self):
        self.denoising = StandInDecoder().denoising
