import functools
import io

import jax
import numpy as np
import pytest
from PIL import Image

from dalle_jax import DallePipeline
from dalle_jax.pipelines.arguments import rgb_array
from dalle_jax.pipelines.images import captioned_grid, tile, to_uint8
from dalle_jax.pipelines.records import redraw


@pytest.fixture(scope="module")
def pipe(tiny_workdir):
    return DallePipeline.from_pretrained(tiny_workdir)


QUICK = {"num_inference_steps": 3, "guidance_scale": 2.0}


def arrays(output):
    return np.stack([np.asarray(image) for image in output.images]).astype(int)


def test_one_prompt_gives_an_image_that_pil_can_save(pipe):
    image = pipe("a red apple", seed=0, **QUICK).images[0]
    assert isinstance(image, Image.Image) and image.size == (24, 24)
    file = io.BytesIO()
    image.save(file, "PNG")
    assert Image.open(file).text["prompt"] == "a red apple"


def test_a_list_of_prompts_times_images_per_prompt(pipe):
    prompts = ["a large red circle", "a small blue star", "a large pink ring"]
    output = arrays(pipe(prompts, num_images_per_prompt=2, seed=3, **QUICK))
    assert output.shape == (6, 24, 24, 3)
    # Each image is what it would be if drawn alone: one more grey level is rounding.
    alone = arrays(pipe(prompts[1], num_images_per_prompt=2, seed=3, **QUICK))
    assert np.abs(output[2:4] - alone).max() <= 1
    assert np.abs(output[0] - output[1]).max() > 10
    assert np.abs(arrays(pipe(prompts[1], seed=4, **QUICK))[0] - alone[0]).max() > 10


def test_a_negative_prompt_takes_the_place_of_the_empty_one(pipe):
    plain = arrays(pipe("a large red circle", **QUICK))
    empty = arrays(pipe("a large red circle", negative_prompt="", **QUICK))
    other = arrays(pipe("a large red circle", negative_prompt="a small blue star", **QUICK))
    assert np.abs(plain - empty).max() <= 1
    assert (plain != other).any()
    with pytest.raises(ValueError, match="2 negative prompts do not fit 3 prompts"):
        pipe(["a", "b", "c"], negative_prompt=["x", "y"], **QUICK)


def test_encoded_captions_draw_what_their_tokens_draw(pipe):
    how = {**QUICK, "guidance_scale": 30.0}  # so that a caption shows in a network so small
    prompts, negatives = ["a large red circle", "a small blue star"], ["a pink ring", ""]
    drawn = pipe.generate(prompts, sample_index=(0, 1), negative_prompts=negatives, **how)
    stage, params = pipe.system.stages["decoder"], pipe.system.params["decoder"]
    inputs = {
        "tokens": pipe.tokenizer.encode(prompts),
        "negative_tokens": pipe.tokenizer.encode(negatives),
        "sample_index": np.arange(2, dtype=np.uint32),
    }
    sample = jax.jit(functools.partial(stage.sample, **{**pipe.defaults["decoder"], **how}))
    by_tokens = to_uint8(sample(params, inputs, jax.random.key(0)))
    assert np.abs(drawn.astype(int) - by_tokens).max() <= 1
    swapped = {**inputs, "tokens": inputs["negative_tokens"], "negative_tokens": inputs["tokens"]}
    assert (
        np.abs(drawn.astype(int) - to_uint8(sample(params, swapped, jax.random.key(0)))).max() > 5
    )


def test_the_callback_sees_every_step_and_ends_on_the_image(pipe):
    seen = []

    def callback(seen_pipe, step, time, kwargs):
        assert seen_pipe is pipe and kwargs["guidance_scale"] == 2.0
        seen.append((step, time, kwargs["x0"]))

    image = pipe("a red apple", callback_on_step_end=callback, **QUICK).images[0]
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [time for _, time, _ in seen] == pytest.approx([1, 2 / 3, 1 / 3])
    assert seen[-1][2].shape == (1, 24, 24, 3)
    np.testing.assert_array_equal(image, pipe("a red apple", **QUICK).images[0])
    assert np.abs(seen[-1][2][0].astype(int) - np.asarray(image)).max() <= 1
    assert "changes" not in image.record


def test_a_callback_stops_or_changes_the_guidance_and_the_record_says_so(pipe):
    seen = []

    def stop(pipe, step, time, kwargs):
        seen.append(kwargs["x0"])
        return {"stop": step == 1}

    image = pipe("a red apple", callback_on_step_end=stop, **QUICK).images[0]
    assert len(seen) == 2 and image.record["changes"] == "stopped after step 2"
    np.testing.assert_array_equal(image, seen[-1][0])
    with pytest.raises(
        ValueError, match=r"changed the sampling of the image \(stopped after step 2"
    ):
        redraw(pipe, image.record)

    def lowered(scale):
        def change(pipe, step, time, kwargs):
            kwargs["guidance_scale"] = scale

        return pipe(
            "a red apple", num_inference_steps=3, guidance_scale=30.0, callback_on_step_end=change
        ).images[0]

    image = lowered(1.0)
    assert image.record["changes"] == "guidance_scale 1.0 after step 1"
    arrays = [np.asarray(lowered(scale)).astype(int) for scale in (1.0, 30.0)]
    assert np.abs(arrays[0] - arrays[1]).max() > 5


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (3, "returned 3; it must return its kwargs, or None"),
        ({"guidance": 3.0}, "returned 'guidance', which can't be changed; guidance_scale and stop"),
        ({"guidance_scale": "3"}, "guidance_scale is '3'; it must be a finite number"),
    ],
)
def test_what_a_callback_returns_is_checked(pipe, returned, message):
    with pytest.raises(ValueError, match=message):
        pipe("a red apple", callback_on_step_end=lambda *_: returned, **QUICK)


def test_a_list_of_seeds_gives_each_image_what_its_seed_gives(pipe):
    seeds = [7, 2**40, 0]
    output = pipe("a red apple", num_images_per_prompt=3, seed=seeds, **QUICK)
    for image, seed in zip(output.images, seeds):
        assert (image.record["seed"], image.record["sample_index"]) == (str(seed), "0")
        alone = pipe("a red apple", seed=seed, **QUICK).images[0]
        assert np.abs(np.asarray(image).astype(int) - np.asarray(alone)).max() <= 1
    redrawn = redraw(pipe, output.images[1].record)
    np.testing.assert_array_equal(redrawn, output.images[1])
    with pytest.raises(ValueError, match="3 seeds do not fit 2 images; give one, or one for each"):
        pipe(["a", "b"], seed=seeds, **QUICK)


def test_images_as_arrays_are_those_of_pil(pipe):
    prompts = ["a large red circle", "a small blue star"]
    images = pipe(prompts, **QUICK).images
    for output_type, kind in (("np", np.ndarray), ("jax", jax.Array)):
        made = pipe(prompts, output_type=output_type, **QUICK).images
        assert isinstance(made, kind) and made.dtype == np.uint8
        np.testing.assert_array_equal(made, np.stack(images))


def test_an_output_is_shown_as_a_grid_with_captions(pipe):
    output = pipe(["a large red circle", "a small blue star"], **QUICK)
    shown = Image.open(io.BytesIO(output._repr_png_()))
    assert shown.width > 2 * 128 and shown.height > 128 + 15
    assert pipe([])._repr_png_() is None


def test_a_pipeline_is_printed_with_its_stages(pipe):
    first, decoder = str(pipe).splitlines()
    count = sum(leaf.size for leaf in jax.tree.leaves(pipe.system.params["decoder"]))
    assert first == f"DallePipeline of {pipe.run.directory.parent}"
    assert decoder == f"decoder: {count:,} parameters, images of 24 × 24 pixels, 4 steps of unipc"


def test_a_bar_counts_the_steps_of_all_batches(pipe, capsys):
    prompts = ["a large red circle"] * 3
    pipe(prompts, batch_size=2, progress=True, **QUICK)
    assert "6/6" in capsys.readouterr().err
    pipe(prompts[:1], **QUICK)  # no terminal
    assert capsys.readouterr().err == ""


def test_the_decoders_settings_are_recorded_alike_with_and_without_its_name(pipe):
    plain = pipe.record("a", None, 0, 0, {"guidance_scale": 2.0, "until": "decoder"})
    named = pipe.record("a", None, 0, 0, {"decoder": {"guidance_scale": 2.0}, "until": "decoder"})
    assert plain == named and named["guidance_scale"] == "2.0" and named["until"] == "decoder"


def test_a_picture_of_any_mode_is_taken_and_other_arrays_are_named():
    for mode in ("RGB", "RGBA", "L", "P"):
        array = rgb_array(Image.new(mode, (5, 3)))
        assert array.shape == (3, 5, 3) and array.dtype == np.uint8
    for wrong in (np.zeros((3, 5, 3)), np.zeros((3, 5), np.uint8)):
        with pytest.raises(ValueError, match=r"PIL images or uint8 \[H, W, 3\]; got"):
            rgb_array(wrong)


def test_to_uint8_is_the_inverse_of_the_models_range():
    image = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(image.astype(np.float32) / 127.5 - 1), image)
    np.testing.assert_array_equal(to_uint8(np.array([-3.0, 3.0])), [0, 255])


def test_grids_hold_every_image():
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    assert tile(images, columns=3).shape == (2 * 12, 3 * 12, 3)
    grid = captioned_grid(images, ["a long caption that wraps over lines"] * 5, columns=3, side=64)
    assert grid.width == 3 * (64 + 12)
    enlarged = np.asarray(grid)[6:70, 6:70]
    np.testing.assert_array_equal(enlarged[::8, ::8], images[0])
