"""Settings out of range are refused with the range, before anything is built or read."""

import math
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.config import ranges
from dalle_jax.config.load import flatten, load_config
from dalle_jax.config.ranges import CHOICES, FREE, OTHERS, RANGES, Range
from dalle_jax.data.tokenizer import train_tokenizer
from dalle_jax.diffusion import CONTINUOUS, PREDICTIONS, SAMPLERS, SPACINGS
from dalle_jax.diffusion.losses import WEIGHTINGS
from dalle_jax.nn.remat import POLICIES
from dalle_jax.stages.base import DTYPES
from dalle_jax.stages.degradation import DEGRADATIONS
from dalle_jax.stages.denoising import THRESHOLDS
from dalle_jax.stages.images import ENLARGEMENTS
from dalle_jax.stages.prior import KINDS
from dalle_jax.training.optim import DECAYS, OPTIMIZERS
from tests.conftest import ROOT

CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.py") if "def get_config" in path.read_text()
)


def fits(name, patterns):
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_setting_of_a_config_has_a_range_or_choices_or_is_listed_as_free(path):
    for name, value in flatten(load_config(path)):
        if fits(name, OTHERS) or name.endswith(".sample.variance"):
            continue
        assert fits(name, CHOICES if isinstance(value, str) else (*RANGES, *FREE)), name


def numbers_outside(bounds):
    """Numbers just outside each bound of a range, and those that are in none."""
    low = [bounds.low if bounds.above else bounds.low - 1] * math.isfinite(bounds.low)
    high = [bounds.high if bounds.below else bounds.high + 1] * math.isfinite(bounds.high)
    return [x for x in (*low, *high, math.nan, math.inf) if x not in bounds.also]


def value_of(bounds, number):
    return (number, number) if bounds.of_tuple != "each" else number


@pytest.mark.parametrize(
    ("pattern", "number"),
    [(pattern, x) for pattern, bounds in RANGES.items() for x in numbers_outside(bounds)],
)
def test_a_number_outside_is_refused_with_the_range(pattern, number):
    bounds = RANGES[pattern]
    value, name = value_of(bounds, number), pattern.replace("*", "decoder.train.own")
    if ranges.range_of(name) is not bounds:
        name = pattern.replace("*", "own")
    refused = ranges.refusal(name, value)
    assert refused == f"config.{name} is {value!r}; it must be {bounds}"


@pytest.mark.parametrize("pattern", RANGES)
def test_a_number_inside_is_taken(pattern):
    bounds = RANGES[pattern]
    low = bounds.low + bounds.above * 0.5
    inside = [low, low + 0.25 if bounds.high == 1 else low + 7, *bounds.also]
    assert all(bounds.holds(value_of(bounds, number)) for number in inside)


@given(st.floats(), st.floats(), st.booleans(), st.floats(), st.booleans())
def test_a_range_holds_what_lies_between_its_bounds(value, low, above, high, below):
    inside = math.isfinite(value) and low <= value <= high
    inside = inside and not (above and value == low) and not (below and value == high)
    assert Range(low, high, above=above, below=below).holds(value) == inside


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (Range(1), "at least 1"),
        (Range(0, above=True), "above 0"),
        (Range(0, 1), "at least 0 and at most 1"),
        (Range(0, 1, below=True), "at least 0 and below 1"),
        (Range(1, also=(-1,)), "at least 1, or -1"),
        (Range(), "a finite number"),
        (Range(0, of_tuple="pair"), "two numbers, the smaller first, each at least 0"),
    ],
)
def test_a_range_in_words(bounds, text):
    assert str(bounds) == text


TINY, UNCLIP, DDPM = (ROOT / f"configs/{name}.py" for name in ("tiny", "unclip_tiny", "ddpm"))


@pytest.mark.parametrize(
    ("path", "override", "sentence"),
    [
        (TINY, "decoder.train.optimizer.learning_rate=-1", "is -1.0; it must be above 0"),
        (TINY, "decoder.train.ema_decay=1.5", "is 1.5; it must be at least 0 and below 1"),
        (TINY, "data.image_size=-3", "config.data.image_size is -3; it must be at least 1"),
        (TINY, "decoder.train.steps=0", "config.decoder.train.steps is 0; it must be at least 1"),
        (TINY, "decoder.train.batch_size=0", "it must be at least 1"),
        (TINY, "decoder.model.unet.dropout=1.2", "it must be at least 0 and below 1"),
        (TINY, "decoder.train.optimizer.warmup_steps=-1", "it must be at least 0"),
        (TINY, "decoder.loss.caption_dropout=1.1", "it must be at least 0 and at most 1"),
        (TINY, "decoder.loss.log_normal_times=(0.5, 0.0)", "the second above 0"),
        (TINY, "decoder.loss.log_normal_times=(0.5,)", "empty, or two numbers"),
        (TINY, "decoder.model.unet.channel_mult=()", "it must be at least 1"),
        (TINY, "decoder.model.unet.channel_mult=(1, 0)", "it must be at least 1"),
        (TINY, "decoder.train.mesh.data=0", "it must be at least 1, or -1"),
        (TINY, "decoder.sample.guidance_scale=1e999", "it must be a finite number"),
        (TINY, "tokenizer.vocab_size=100", "it must be at least 258"),
        (TINY, "seed=-1", "it must be at least 0 and at most 18,446,744,073,709,551,615"),
        (TINY, "decoder.train.optimizer.name=sgd", "is 'sgd'; it must be one of adamw, muon"),
        (TINY, "decoder.train.optimizer.name=adam", "one of adamw, muon; did you mean adamw?"),
        (TINY, "decoder.train.optimizer.decay=cosin", "did you mean cosine?"),
        (TINY, "decoder.diffusion.schedule=cosne", "did you mean cosine?"),
        (TINY, "decoder.loss.target=vv", "one of eps, x0, v, flow, score, edm, mean"),
        (TINY, "decoder.loss.weighting=minsnr", "did you mean min_snr?"),
        (TINY, "decoder.model.dtype=bf16", "did you mean bfloat16?"),
        (TINY, "decoder.train.remat=block", "did you mean blocks?"),
        (TINY, "decoder.sample.sampler=dpmpp_2s", "did you mean dpmpp_2m?"),
        (TINY, "decoder.sample.spacing=trailling", "did you mean trailing?"),
        (TINY, "stages=('decodr',)", "has no section; it has decoder; did you mean decoder?"),
        (TINY, "decoder.model.text.num_heads=3", "must be a multiple of num_heads, 3"),
        (TINY, "decoder.model.unet.norm_groups=3", "is 8 at level 0; it must be a multiple of nor"),
        (TINY, "decoder.model.unet.head_channels=3", "must be a multiple of head_channels, 3"),
        (TINY, "decoder.model.unet.patch_size=5", "images of 24 pixels; .* a multiple of 5"),
        (TINY, "decoder.train.accumulate=3", "must be a multiple of accumulate, 3"),
        (DDPM, "decoder.diffusion.num_timesteps=-1", "it must be at least 0"),
        (UNCLIP, "clip.model.image.patch_size=5", "must be a multiple of image.patch_size, 5"),
        (UNCLIP, "clip.model.image.num_heads=5", "clip.model.image.width is 16; .* num_heads, 5"),
        (UNCLIP, "clip.model.image_size=16", "24 pixels, must be a multiple of it"),
        (UNCLIP, "clip.model.text.depth=0", r"clip.model.text.depth is 0; it must be at least 1"),
        (UNCLIP, "prior.kind=diffusio", "did you mean diffusion?"),
        (UNCLIP, "prior.loss.text_dropout=-0.1", "it must be at least 0 and at most 1"),
        (UNCLIP, "joint.prior_sampling.num_candidates=0", "it must be at least 1"),
        (UNCLIP, "prior.sample.dot_percentile=50", "it must be at least 0 and at most 1"),
        (UNCLIP, "upsampler.model.resize=cubic", "did you mean bicubic?"),
        (UNCLIP, "upsampler.loss.degradation.sigma=(0.6, 0.4)", "the smaller first"),
        (UNCLIP, "upsampler.loss.crop_size=9", "images of 9 pixels; .* a multiple of 2"),
        (UNCLIP, "upsampler.model.unet.norm_groups=5", "must be a multiple of norm_groups, 5"),
    ],
)
def test_an_override_out_of_range_is_refused(path, override, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        load_config(path, [f"--config.{override}"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("prior.autoregressive.num_fitted=4", "num_fitted is 4; it must be above num_dimensions"),
        ("prior.model.latent.num_heads=3", "latent.width is 16; it must be a multiple of num_h"),
    ],
)
def test_sizes_of_an_autoregressive_prior_do_not_matter_to_the_other_kind(override, sentence):
    load_config(UNCLIP, [f"--config.{override}"])
    with pytest.raises(ValueError, match=sentence):
        load_config(UNCLIP, ["--config.prior.kind=autoregressive", f"--config.{override}"])


def test_a_layout_that_is_not_there_may_have_any_width():
    narrow = ["--config.decoder.model.layout.width=130"]
    load_config(TINY, narrow)
    with pytest.raises(ValueError, match=r"layout\.width is 130; it must be a multiple"):
        load_config(TINY, [*narrow, "--config.decoder.model.layout.size=8"])


@pytest.mark.parametrize(
    "override",
    [
        "decoder.sample.guidance_scale=-2",
        "decoder.sample.guidance_scale=0",
        "decoder.model.unet.attention_resolutions=()",
        "decoder.train.evaluate_every=0",
        "decoder.train.validation_images=0",
        "decoder.loss.log_normal_times=()",
        "decoder.loss.log_normal_times=(-1.0, 0.9)",
        "decoder.train.mesh.fsdp=-1",
        "decoder.train.ema_decay=0",
        "decoder.train.optimizer.learning_rate=1e38",
        "data.num_threads=0",
    ],
)
def test_what_has_a_meaning_is_taken(override):
    load_config(TINY, [f"--config.{override}"])


def test_a_config_that_lacks_a_setting_is_no_crash():
    config = load_config(TINY).to_dict()
    del config["decoder"]["model"]["unet"]["norm_groups"], config["decoder"]["train"]["batch_size"]
    ranges.check(config)


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        ("*.model.dtype", DTYPES),
        ("*.model.resize", ENLARGEMENTS),
        ("*.diffusion.schedule", CONTINUOUS),
        ("*.loss.target", (*PREDICTIONS, "mean")),
        ("*.loss.weighting", (*WEIGHTINGS, "bound")),
        ("*.degradation.name", DEGRADATIONS),
        ("prior.kind", KINDS),
        ("*.optimizer.name", OPTIMIZERS),
        ("*.optimizer.decay", DECAYS),
        ("*.train.remat", POLICIES),
        ("*.sampler", SAMPLERS),
        ("*.spacing", SPACINGS),
        ("*.threshold", THRESHOLDS),
    ],
)
def test_choices_are_what_the_code_has(pattern, known):
    assert set(CHOICES[pattern]) == set(known)


def test_every_list_of_choices_is_compared_with_the_code():
    mark = next(m for m in test_choices_are_what_the_code_has.pytestmark if m.name == "parametrize")
    assert {pattern for pattern, _ in mark.args[1]} == set(CHOICES)


def test_the_smallest_vocabulary_is_the_tokenizer_s():
    smallest = int(RANGES["tokenizer.vocab_size"].low)
    assert train_tokenizer(["a b"], smallest) is not None
    with pytest.raises(ValueError, match=f"at least {smallest}"):
        train_tokenizer(["a b"], smallest - 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder.train.batch_size", True),
        ("decoder.train.batch_size", None),
        ("decoder.train.steps", "20"),
        ("decoder.model.unet.channel_mult", (1, "2")),
        ("decoder.model.unet.channel_mult", (1, None)),
        ("decoder.model.unet.attention_resolutions", (8,)),
        ("decoder.sample.sampler", None),
        ("decoder.sample.guidance_scale", None),
    ],
)
def test_what_is_no_number_or_no_name_is_refused_where_one_belongs(name, value):
    refused = ranges.refusal(name, value)
    assert (refused is None) == (value == (8,))
    assert refused is None or refused.startswith(f"config.{name} is {value!r}; it must be ")


def test_stages_must_not_be_empty():
    with pytest.raises(ValueError, match="stages is empty; it must name the stages"):
        load_config(TINY, ["--config.stages=()"])
