"""`dalle-jax sample`: what the command line says reaches the pipeline."""

import numpy as np
import pytest
from PIL import Image

from dalle_jax.cli import sample
from dalle_jax.pipelines.text_to_image import DallePipeline, PipelineOutput


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The settings that a pipeline in place of the trained one is called with."""
    calls = []

    def pipe(prompts, **settings):
        calls.append(settings)
        return PipelineOutput([Image.new("RGB", (4, 4))])

    monkeypatch.setattr(DallePipeline, "from_pretrained", lambda workdir: pipe)
    monkeypatch.setattr(
        "dalle_jax.pipelines.settings.check_sampling", lambda workdir, settings: None
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x/decoder").mkdir(parents=True)
    (tmp_path / "x/decoder/config.json").touch()
    return calls


def test_a_picture_is_what_is_varied(asked, tmp_path):
    picture, out = tmp_path / "picture.png", tmp_path / "out.png"
    Image.new("RGB", (5, 3), "red").save(picture)
    command = ["a circle", "--workdir=x", f"--image={picture}", f"--out={out}"]
    for source in ([], ["--from=image-embedding"]):
        sample.run([*command, *source])
        assert asked[-1]["embedding"] == "image-embedding"
        np.testing.assert_array_equal(asked[-1]["images"][0], np.full((3, 5, 3), (255, 0, 0)))
    with pytest.raises(ValueError, match="--image is not read with --from=prior"):
        sample.run([*command, "--from=prior"])


def test_settings_go_to_their_stages(asked, tmp_path):
    options = ["--prior.guidance_scale=2", "--sampler=ddim", "--eta=0.5", "--spacing=karras"]
    sample.run(["a circle", "--workdir=x", f"--out={tmp_path / 'out.png'}", *options])
    expected = {"prior": {"guidance_scale": 2}, "sampler": "ddim", "eta": 0.5, "spacing": "karras"}
    assert {name: asked[0][name] for name in expected} == expected


@pytest.mark.parametrize("out", ["circle", "circle.xyz"])
def test_a_name_of_no_image_file_is_refused_before_anything_is_sampled(asked, out):
    with pytest.raises(ValueError, match="does not end as an image file does"):
        sample.run(["a circle", "--workdir=x", f"--out={out}"])
    assert not asked


@pytest.mark.parametrize("suffix", ["jpeg", "JPG", "webp", "tiff"])
def test_what_is_no_png_is_said_to_hold_no_record(asked, tmp_path, suffix):
    with pytest.warns(UserWarning, match=f"out.{suffix} will not hold the record .* only a PNG"):
        sample.run(["a circle", "--workdir=x", f"--out=out.{suffix}"])
    assert (tmp_path / f"out.{suffix}").exists()


@pytest.mark.parametrize("suffix", ["png", "PNG"])
def test_a_png_is_saved_without_a_word(asked, suffix, recwarn):
    sample.run(["a circle", "--workdir=x", f"--out=out.{suffix}"])
    assert not recwarn


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--callback=3", "no option --callback"),
        ("--batch_size=0", "no option --batch_size"),
        ("--n=0", "--n is a whole number of at least 1"),
    ],
)
def test_options_that_there_are_not(asked, option, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        sample.run(["a circle", "--workdir=x", option])
    assert message in capsys.readouterr().err and not asked


@pytest.mark.parametrize("seed", ["-1", str(2**64)])
def test_a_seed_out_of_range_is_refused_before_anything_is_loaded(asked, seed, capsys):
    with pytest.raises(SystemExit):
        sample.run(["--workdir=runs/a", "a", f"--seed={seed}"])
    assert "--seed is a whole number from 0 to 18446744073709551615" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["from_png", "image"])
def test_a_folder_is_no_picture(asked, tmp_path, option, monkeypatch):
    monkeypatch.setattr(sample, "check_workdir", lambda *_: None)
    with pytest.raises(ValueError, match="is a folder; give a picture in it"):
        sample.run(
            [f"--workdir={tmp_path}", f"--{option}={tmp_path}", *["a"] * (option == "image")]
        )
