"""Settings of a call: refused at once, by name and range, before anything is compiled."""

import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.words import CaptionWords
from dalle_jax.pipelines.images import to_uint8
from dalle_jax.pipelines.settings import checked_settings, settings_of
from dalle_jax.stages.base import Stage
from tests.pipelines.stand_in import (
    CAPTIONS,
    CheckedPrior,
    CheckedUpsampler,
    StandInDecoder,
    make_pipeline,
)

NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("pipe"))


def refused(pipe, settings, message):
    before, decoder = time.process_time(), pipe.system.stages["decoder"]
    calls = decoder.calls
    with pytest.raises(ValueError, match=message):
        pipe("a large red circle", **settings)
    assert decoder.calls == calls and time.process_time() - before < 1


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("guidence_scale", "guidance_scale"),
        ("guidance", "guidance_scale"),
        ("guidance_interal", "guidance_interval"),
        ("num_inferrence_steps", "num_inference_steps"),
        ("steps_ofset", "steps_offset"),
        ("samplr", "sampler"),
        ("spacin", "spacing"),
        ("etta", "eta"),
        ("corector", "corrector"),
        ("num_image_per_prompt", "num_images_per_prompt"),
        ("negativ_prompt", "negative_prompt"),
        ("sed", "seed"),
        ("calback_on_step_end", "callback_on_step_end"),
        ("image", "images"),
        ("embeding", "embedding"),
        ("untill", "until"),
        ("batchsize", "batch_size"),
        ("decodr", "decoder"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest_of_all(pipe, typed, meant):
    refused(pipe, {typed: 1}, f'decoder has no option "{typed}"; did you mean {meant}\\?')


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance_scale": NAN}, "guidance_scale is nan; it must be a finite number"),
        ({"guidance_scale": INF}, "guidance_scale is inf; it must be a finite number"),
        ({"guidance_scale": None}, "guidance_scale is None; it must be a finite number"),
        ({"guidance_rescale": 1.5}, r"guidance_rescale is 1\.5; it must be a number from 0 to 1"),
        ({"guidance_rescale": NAN}, "guidance_rescale is nan"),
        ({"guidance_interval": (5.0, 0.1)}, r"two noise levels \(low, high\], 0 <= low < high"),
        ({"guidance_interval": (0.1, NAN)}, "two noise levels"),
        ({"guidance_interval": 3}, "two noise levels"),
        ({"num_inference_steps": 0}, "whole number of steps, 1 to 100,000; got 0"),
        ({"num_inference_steps": -4}, "1 to 100,000; got -4"),
        ({"num_inference_steps": 2.5}, r"1 to 100,000; got 2\.5"),
        ({"num_inference_steps": True}, "1 to 100,000; got True"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt is 0; it must be a whole number, 1"),
        ({"num_images_per_prompt": 1.5}, "num_images_per_prompt is 1.5"),
        ({"num_images_per_prompt": 10**9}, "1,000,000,000 images are too many for one call"),
        ({"num_images_per_prompt": "2"}, "num_images_per_prompt is '2'"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, 1 or more"),
        ({"seed": -1}, r"seed is -1; it must be a whole number from 0 to 2\*\*64 − 1"),
        ({"seed": 2**64}, "seed is 18446744073709551616; it must be"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"sampler": "ddim", "eta": 1.5}, r"eta is 1\.5; it must be from 0"),
        ({"sampler": "ddim", "eta": -0.1}, "eta is -0.1; it must be from 0"),
        ({"sampler": "ddim", "eta": NAN}, "eta is nan"),
        ({"sampler": "ddim", "eta": None}, 'option "eta" of a sampler is a number; got None'),
        ({"sampler": "euler", "churn": -1.0}, "churn is -1.0 .* 0 or more"),
        ({"sampler": "euler", "churn": NAN}, "churn is nan"),
        ({"sampler": "heun", "churn_min": 3.0, "churn_max": 1.0}, "0 <= churn_min <= churn_max"),
        ({"sampler": "heun", "variable": "sigm"}, 'no variable "sigm" of heun'),
        ({"sampler": "dimm"}, 'no sampler "dimm"; known are'),
        ({"sampler": 3}, 'no sampler "3"'),
        ({"order": 4}, "has order 1, 2 or 3; got 4"),
        ({"order": 2.0}, 'option "order" of a sampler is a whole number; got 2.0'),
        ({"corrector": 1}, 'option "corrector" of a sampler is True or False; got 1'),
        ({"corrector_start": -1}, "corrector_start is -1"),
        ({"sampler": "ddim", "unic_order": 1.5}, '"unic_order" of a sampler is a whole number'),
        ({"spacing": "trailling"}, 'no spacing "trailling"; known are trailing'),
        ({"spacing": "karras", "rho": 0.0}, "rho is 0.0; it must be greater than 0"),
        ({"spacing": "karras", "sigma_max": NAN}, "needs 0 < sigma_min < sigma_max"),
        ({"spacing": "beta", "a": -1.0}, "a is -1.0 and b is 0.6"),
        ({"spacing": "leading", "steps_offset": -1}, "steps_offset is -1"),
        ({"spacing": [1.0, NAN, 0.5, 0.2, 0.0]}, "noise levels must decrease strictly"),
        ({"threshold": "dynamc"}, 'no threshold "dynamc"; known are static'),
        ({"eta": 0.5}, 'sampler "unipc" has no option "eta"'),
        ({"until": "upsampler"}, "no stage 'upsampler' makes images here; those that do: decoder"),
        ({"output": "both"}, "output is 'both'"),
        ({"decoder": 2}, "settings of decoder are given by their names"),
        ({"prior": {"guidance_scale": 2.0}}, "no stage 'prior' here .* there are decoder"),
        ({"guidance_rescale": "much"}, "guidance_rescale is 'much'; it must be a number"),
        ({"guidance_interval": [0.1, 2.0, 5.0]}, r"two noise levels \(low, high\]"),
        ({"negative_prompt": ["x", "y"]}, "2 negative prompts do not fit 1 prompts"),
        ({"sampler": "ddim", "decoder": {"sampler": "unipc"}}, "sampler .* given twice"),
        ({"decoder": {"batch_size": 1}}, "no setting of decoder: give it beside decoder"),
        ({"guidance_scale": jnp.array([2.0, 3.0])}, r"guidance_scale is \(2.0, 3.0\)"),
        ({"images": 3}, "images is 3; it must be a list, an item for each prompt"),
        ({"images": []}, "0 images do not fit 1 prompts"),
        ({"embedding": "caption"}, "reads captions only; 'caption' needs"),
        ({"prompts": "a small blue star"}, '"prompts" is no option of a call: give prompt'),
        ({"negative_prompts": ["x"]}, "no option of a call: give negative_prompt"),
        ({"sample_index": [3]}, "give num_images_per_prompt, or call generate"),
        ({"callback_on_step_end": 3}, r"is 3; it must be a function of \(pipe, step, time, kwargs"),
        ({"callback_on_step_end": "print"}, "is 'print'; it must be a function"),
        ({"callback_on_step_end": False}, "callback_on_step_end is False; it must be a function"),
        ({"callback_on_step_end": lambda step: None}, r"takes \(step\); it must be a function of"),
        ({"callback_on_step_end": lambda *, step: None}, "it must be a function of"),
        ({"output_type": "latent"}, "output_type is 'latent'; known are pil, np, jax"),
        ({"generator": 3}, 'no option "generator": give seed, a whole number or a list'),
        ({"images": [Image.new("RGB", (4, 4))]}, "reads captions only; sampling from images needs"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_value_out_of_range_is_refused_with_the_range(pipe, settings, message):
    refused(pipe, settings, message)


@pytest.mark.parametrize("index", [[-1], [2**32], [0.5], ["0"]], ids=str)
def test_a_sample_index_is_a_whole_number_that_the_noise_knows(pipe, index):
    with pytest.raises(ValueError, match=r"sample_index has .* from 0 to"):
        pipe.generate(["a large red circle"], sample_index=index)


STAGES = {"prior": CheckedPrior(), "decoder": StandInDecoder(), "upsampler": CheckedUpsampler()}
OF_PRIOR = {
    "num_candidates": 2,
    "guidance_scale": 1.0,
    "sampler": "ddim",
    "num_inference_steps": 4,
    "dot_percentile": 0.5,
}
DEFAULTS = {
    "prior": OF_PRIOR,
    "decoder": {"sampler": "ddim", "num_inference_steps": 4, "guidance_scale": 1.0},
    "upsampler": {"sampler": "ddim", "num_inference_steps": 4},
}


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        ("prior", {"num_candidate": 2}, "did you mean num_candidates"),
        ("prior", {"num_candidates": 0}, "one candidate or more; num_candidates=0"),
        ("prior", {"num_candidates": 1.5}, "one candidate or more; num_candidates=1.5"),
        ("prior", {"guidance_scale": NAN}, "guidance_scale is nan"),
        ("prior", {"sampler": "ddmp"}, 'no sampler "ddmp"'),
        ("prior", {"seed": 3}, '"seed" is no setting of prior: give it beside prior'),
        ("decoder", {"num_candidates": 2}, 'prior has: give prior={"num_candidates": …}'),
        ("decoder", {"num_candidate": 2}, 'decoder has no option "num_candidate"'),
        ("upsampler", {"guidance_scale": 2.0}, "can only be 1"),
        ("upsampler", {"guidance_scale": "2"}, "guidance_scale of upsampler is a number; got '2'"),
        ("upsampler", {"guidance_rescale": 0.5}, "upsampler has no option .*, decoder has"),
        ("upsampler", {"num_inference_steps": 0}, "1 to 100,000; got 0"),
        ("upsampler", {"threshhold": "none"}, "did you mean threshold"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_settings_of_every_stage_are_checked(stage, settings, message):
    with pytest.raises(ValueError, match=message):
        checked_settings(STAGES, DEFAULTS, {stage: settings})


def test_an_autoregressive_prior_takes_no_time_grid():
    prior = CheckedPrior("autoregressive")
    prior.check_settings(**OF_PRIOR)
    for wrong, message in (
        ({"spacing": "karras"}, 'autoregressive prior has no option "spacing"'),
        ({"dot_percentile": 1.0}, "dot_percentile is 1.0"),
        ({"dot_percentile": NAN}, "dot_percentile is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            prior.check_settings(**{**OF_PRIOR, **wrong})


def test_a_list_that_json_made_of_a_tuple_is_one_again():
    given = {"decoder": {"guidance_interval": [0.1, 5.0]}}
    made = checked_settings(STAGES, DEFAULTS, given)
    assert dict(made["decoder"])["guidance_interval"] == (0.1, 5.0)


def test_every_setting_that_is_checked_can_be_drawn_with(pipe):
    assert {"guidance_scale", "sampler", "spacing", "eta", "rho"} <= set(
        settings_of(STAGES["prior"])
    )
    assert settings_of(Stage()) == ()
    for settings in ({"sampler": "heun"}, {"sampler": "ddim", "eta": 1.0}, {"spacing": "karras"}):
        image = np.asarray(pipe("a large red circle", **settings).images[0])
        assert image.shape == (4, 4, 3)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_drawn_is_finite_or_an_error(value, tmp_path):
    with pytest.raises(ValueError, match="decoder sampled values that are not finite"):
        make_pipeline(tmp_path, weight=value)("a large red circle")
    images = np.zeros((2, 3, 3, 3))
    images[1, 2, 0, 1] = value
    with pytest.raises(ValueError, match="upsampler sampled values that are not finite"):
        to_uint8(images, "upsampler")


def test_a_prompt_of_words_that_training_never_had_says_so(tmp_path):
    words = CaptionWords()
    list(words.watch(CAPTIONS))
    words.save(tmp_path / "words.json")
    pipe = make_pipeline(tmp_path)
    for prompt, said in (
        ("a large red zebra", 'no training caption has "zebra"'),
        ("a red large circle", '"red large", "large circle" side by side in this order'),
    ):
        with pytest.warns(UserWarning, match=said):
            pipe([prompt, "a large red circle"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe("a small red star")
        pipe.generate(["a large red zebra"], sample_index=[0])  # of measurements: their captions


def test_seeds_beyond_32_bits_draw_images_of_their_own(pipe):
    drawn = {
        seed: np.asarray(pipe("a large red circle", seed=seed).images[0]).tobytes()
        for seed in (5, 2**32 + 5, 2**33 + 5, 2**64 - 1)
    }
    assert len(set(drawn.values())) == len(drawn)
    image = pipe("a large red circle", seed=np.int64(2**32 + 5)).images[0]
    assert image.record["seed"] == str(2**32 + 5)
    assert np.asarray(image).tobytes() == drawn[2**32 + 5]


@pytest.mark.parametrize("prompt", [5, None, [None], ["a", 3], b"a", {"a": 1}, [["a", "b"]]])
def test_what_is_no_text_is_refused_as_a_prompt(pipe, prompt):
    with pytest.raises(ValueError, match=r"prompt is or has .*; it must be a text or a list of"):
        pipe(prompt)
    if prompt is not None:
        with pytest.raises(ValueError, match="negative_prompt is or has"):
            pipe("a", negative_prompt=prompt)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_index": [0]}, "1 sample_index do not fit 2 prompts; give one for each prompt"),
        ({"sample_index": 0}, "sample_index is 0; it must be a list, an item for each prompt"),
        ({"sample_index": [0, True]}, "sample_index has True"),
        ({"sample_index": [0, 1], "negative_prompts": ["x"]}, "1 negative_prompts do not fit 2"),
    ],
)
def test_generate_takes_one_item_for_each_prompt(pipe, options, message):
    with pytest.raises(ValueError, match=message):
        pipe.generate(["a", "b"], **options)


def test_generate_without_prompts_says_so(pipe):
    with pytest.raises(ValueError, match="there are no prompts"):
        pipe.generate([], sample_index=[])


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": jnp.int32(3)},
        {"seed": np.array(3)},
        {"num_images_per_prompt": jnp.int32(1)},
        {"num_inference_steps": jnp.int32(3)},
        {"guidance_scale": jnp.float32(2)},
        {"guidance_scale": np.float32(2)},
        {"sampler": "ddim", "eta": jnp.float32(0.5)},
        {"num_inference_steps": 2, "spacing": jnp.array([1, 0.5, 0])},
        {"num_inference_steps": 2, "spacing": (np.float64(1), np.float64(0.5), np.float64(0))},
        {"corrector": np.bool_(True)},
    ],
)
def test_numbers_and_arrays_of_numpy_and_jax_are_recorded_as_those_of_python(pipe, settings):
    record = pipe("a", **settings).images[0].record
    assert not any(kind in "".join(record.values()) for kind in ("np.", "Array", "array"))


@pytest.mark.parametrize(
    "spacing", [None, 5, set(), [1, 0.5, "0"], [1, None, 0], [[1], [1, 2]], [1, 0.5j, 0]]
)
def test_times_that_are_none_are_refused(pipe, spacing):
    with pytest.raises(ValueError, match=r"spacing (is|given as times)"):
        pipe("a", spacing=spacing, num_inference_steps=2)


@pytest.mark.filterwarnings("error")
def test_times_outside_are_refused_without_a_warning(pipe):
    refused(
        pipe, {"spacing": "leading", "steps_offset": 99999}, "noise levels must decrease strictly"
    )
