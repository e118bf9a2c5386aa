"""A pipeline compiles its programs once: settings that are numbers are arguments of them."""

import jax
import numpy as np
import pytest

from dalle_jax import DallePipeline

PROMPTS = ["a large red circle", "a small blue star"]


@pytest.fixture
def compilations():
    """The compilations since, one entry each, those found in the disk cache too."""
    found = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def lower(pipe, step, time, kwargs):
    kwargs["guidance_scale"] = 1.0


TEN = [
    {"guidance_scale": 7},
    {"guidance_scale": 0.0},
    {"seed": 5},
    {"seed": [9, 3]},
    {"num_inference_steps": 7},
    {"num_inference_steps": 100},
    {"spacing": "karras", "sigma_max": 30.0, "rho": 5.0},
    {"variant": "bh1", "corrector_start": 1},
    {"callback_on_step_end": lambda *_: {"stop": True}},
    {"callback_on_step_end": lower, "progress": True},
]


def test_numbers_and_callbacks_compile_nothing(tiny_workdir, compilations):
    pipe = DallePipeline.from_pretrained(tiny_workdir)
    settings = {"num_inference_steps": 4, "guidance_scale": 3.0}
    first = pipe(PROMPTS, **settings, output_type="np").images
    assert compilations
    compilations.clear()
    made = [pipe(PROMPTS, **{**settings, **other}, output_type="np").images for other in TEN]
    assert compilations == []
    assert all((images != first).any() for images in made)
    np.testing.assert_array_equal(pipe(PROMPTS, **settings, output_type="np").images, first)
    assert compilations == []
    pipe(PROMPTS, **{**settings, "guidance_scale": 1.0})  # without the unconditional half
    assert compilations


def test_eta_and_the_limits_of_guidance_are_numbers_of_every_stage(
    tiny_unclip_workdir, compilations
):
    pipe = DallePipeline.from_pretrained(tiny_unclip_workdir)

    def draw(eta, scale, rescale, interval, steps):
        denoising = {"sampler": "ddim", "eta": eta, "num_inference_steps": steps}
        guided = {"guidance_rescale": rescale, "guidance_interval": interval}
        prior = {**denoising, "guidance_scale": scale}
        of_others = {"prior": prior, "upsampler": denoising}
        return pipe(PROMPTS, guidance_scale=scale, **guided, **denoising, **of_others)

    draw(0.5, 2.0, 0.3, (0.2, 5.0), 3)
    compilations.clear()
    draw(0.7, 1.5, 0.2, [0.1, 3.0], 5)
    assert compilations == []
