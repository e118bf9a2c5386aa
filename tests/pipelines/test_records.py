"""An image is made again from the record in its file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from dalle_jax.cli import sample
from dalle_jax.pipelines.images import GeneratedImage, png_text, shared_record
from dalle_jax.pipelines.records import difference, read_record, redraw
from dalle_jax.pipelines.text_to_image import DallePipeline
from tests.pipelines.stand_in import make_pipeline

PROMPTS = ["a large red circle", "a small blue star", "a large blue star"]


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return make_pipeline(tmp_path_factory.mktemp("pipe"))


@pytest.fixture
def file(pipe, tmp_path):
    path = tmp_path / "circle.png"
    pipe(PROMPTS[0], seed=3).images[0].save(path)
    return path


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"seed": 2**40 + 1},
        {"negative_prompt": "a small blue star"},
        {"sampler": "ddpm", "num_inference_steps": 6},
        {"sampler": "heun", "variable": "flow", "churn": 1.0, "churn_max": float("inf")},
        {"sampler": "ddim", "eta": 0.5, "spacing": "karras", "rho": 5.0},
        {"spacing": np.array([1.0, 0.7, 0.4, 0.2, 0.0])},
        {"spacing": [1.0, 0.7, 0.4, 0.2, 0.0]},
        {"guidance_scale": 4, "guidance_rescale": 0.0},
        {"threshold": "dynamic", "corrector": False},
        {"batch_size": 2},
        {"until": "decoder"},
    ],
    ids=lambda how: "-".join(how) or "plain",
)
def test_every_image_of_a_call_is_made_again_to_the_bit(pipe, tmp_path, how):
    made = pipe(PROMPTS, num_images_per_prompt=2, **{"seed": 1, **how}).images
    for n, image in enumerate(made):
        path = tmp_path / f"{n}.png"
        image.save(path)
        record, pixels = read_record(path)
        np.testing.assert_array_equal(pixels, np.asarray(image))
        assert record == image.record
        np.testing.assert_array_equal(redraw(pipe, record), pixels)


@settings(max_examples=25)
@given(prompt=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_any_prompt_survives_its_file(pipe, tmp_path_factory, prompt):
    path = tmp_path_factory.mktemp("any") / "image.png"
    image = pipe(prompt).images[0]
    image.save(path)
    record, pixels = read_record(path)
    assert record["prompt"] == prompt
    np.testing.assert_array_equal(redraw(pipe, record), pixels)


def test_other_weights_are_refused(file, tmp_path):
    other = make_pipeline(tmp_path, weight=2.0)
    with pytest.raises(ValueError, match=r"sampled with the weights .* step 1\.0, and"):
        redraw(other, read_record(file)[0])


def test_files_without_a_whole_record_are_refused(pipe, file, tmp_path):
    record, pixels = read_record(file)
    picture, path = Image.fromarray(pixels), tmp_path / "other.png"

    def refused(message):
        with pytest.raises(ValueError, match=message):
            read_record(path)

    picture.save(path)
    refused("has no record of dalle_jax")
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "another program")
    picture.save(path, pnginfo=info)
    refused("has no record of dalle_jax")
    picture.save(tmp_path / "other.jpg")
    with pytest.raises(ValueError, match="has no record of dalle_jax"):
        read_record(tmp_path / "other.jpg")
    for name in ("prompt", "seed", "sample_index", "checkpoint", "negative_prompt"):
        rest = {k: v for k, v in record.items() if k != name}
        GeneratedImage.from_array(pixels, rest).save(path)
        refused(f"is damaged: it has no {name}")
    path.write_bytes(file.read_bytes()[:200])
    refused("damaged|no picture")
    path.write_text("hello")
    refused("is no picture")
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "nowhere.png")


@pytest.mark.parametrize("cut", range(8, 400, 40))
def test_a_file_cut_anywhere_is_one_sentence(file, tmp_path, cut):
    path = tmp_path / "cut.png"
    path.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"is damaged|is no picture|has no record"):
        read_record(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", "three", "is damaged"),
        ("seed", "-3", "seed is -3; it must be"),
        ("sample_index", "1.5", "is damaged"),
        ("batch", "3 of 2", "is damaged: its position, 3 of 2, is impossible"),
        ("batch", "0 of 100000000", "is damaged: its position, 0 of 100000000, is impossible"),
        ("batch", "x", "is damaged: its batch is 'x'"),
        ("progress", "3", "is damaged: it has progress"),
        ("batch_size", "4", "is damaged: it has batch_size"),
        ("prompts", "x", "is damaged: it has prompts"),
        ("batch", "here", "is damaged"),
        ("sampler", "dimm", 'no sampler "dimm"'),
        ("guidance_scale", "nan", "guidance_scale is 'nan'; it must be a finite"),
        ("colour", "red", 'no option "colour"'),
        ("embedding", "image-embedding", "variation of a picture"),
    ],
)
def test_a_record_that_was_changed_is_refused(pipe, file, name, value, message):
    record, _ = read_record(file)
    with pytest.raises(ValueError, match=message):
        redraw(pipe, {**record, name: value})


def test_a_grid_of_images_is_no_image(pipe, tmp_path):
    for call in ({"num_images_per_prompt": 2}, {}):
        images = pipe(PROMPTS if not call else PROMPTS[0], **call).images
        record = shared_record([image.record for image in images])
        Image.fromarray(np.asarray(images[0])).save(tmp_path / "grid.png", pnginfo=png_text(record))
        with pytest.raises(ValueError, match="shows several images"):
            read_record(tmp_path / "grid.png")


def test_what_differs_is_counted():
    image = np.zeros((2, 2, 3), np.uint8)
    assert difference(image, image) is None
    other = image.copy()
    other[0, 1, 2] = 3
    assert difference(image, other) == "1 of 12 values differ, by 3 at most"
    with pytest.raises(ValueError, match="the file has 4 × 2 pixels"):
        difference(image, np.zeros((2, 4, 3), np.uint8))


def test_the_verb_draws_it_again(pipe, file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(DallePipeline, "from_pretrained", lambda workdir: pipe)
    monkeypatch.setattr(sample, "check_workdir", lambda workdir: None)
    out = tmp_path / "again.png"
    command = ["--workdir=x", f"--from_png={file}", f"--out={out}"]
    assert sample.run(command) == 0
    assert "(the same as" in capsys.readouterr().out
    assert out.read_bytes() == file.read_bytes()
    with pytest.raises(ValueError, match="does not end as an image file does"):
        sample.run([*command[:2], "--out=again"])
    record, pixels = read_record(file)
    changed = pixels.copy()
    changed[0, 0, 0] ^= 4
    GeneratedImage.from_array(changed, record).save(file)
    assert sample.run(command) == 0
    assert "1 of 48 values differ, by 4 at most" in capsys.readouterr().out
    for more, named in (["a circle"], "the caption"), (["--seed=3"], "--seed"), (["--n=2"], "--n"):
        with pytest.raises(SystemExit):
            sample.run([*command, *more])
        assert f"leave out {named}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sample.run(["--workdir=x"])
    assert "a caption is needed, or --from_png=FILE" in capsys.readouterr().err


def test_the_size_of_batches_changes_no_more_than_rounding(pipe):
    prompts = [PROMPTS[0]] * 5
    at_once, in_twos = (
        pipe.generate(prompts, sample_index=range(5), batch_size=n).astype(int) for n in (64, 2)
    )
    assert at_once.shape == (5, 4, 4, 3) and np.abs(at_once - in_twos).max() <= 1


def test_neighbours_change_no_bit(pipe):
    """At one position of a batch of one size, whatever the other captions and noises are."""
    alone = pipe.generate([PROMPTS[0]] * 4, sample_index=[7] * 4, batch_size=4)
    for others in (PROMPTS[1], PROMPTS[2], ""):
        for place in range(4):
            prompts, index = [others] * 4, [1, 2, 3, 4]
            prompts[place], index[place] = PROMPTS[0], 7
            drawn = pipe.generate(prompts, sample_index=index, batch_size=4)
            np.testing.assert_array_equal(drawn[place], alone[place])


def test_texts_that_another_program_added_do_not_matter(pipe, file):
    record, there = read_record(file)
    added = {"Comment": "made by me", "Title": "a", "date:create": "2026", "Creation Time": "now"}
    assert difference(redraw(pipe, {**record, **added}), there) is None
