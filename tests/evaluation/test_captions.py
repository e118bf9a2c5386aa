import dataclasses

import numpy as np
import pytest

from dalle_jax.cli import prepare
from dalle_jax.config.load import load_config
from dalle_jax.data.manifest import read_manifest, write_manifest
from dalle_jax.data.manifest_source import make_manifest
from dalle_jax.evaluation.captions import open_held_out, source_arguments
from dalle_jax.metrics.oracle import score
from dalle_jax.runs import create_run
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def run(tmp_path_factory, shapes_dir):
    """A run that knows its data; nothing is trained."""
    config = load_config(ROOT / "configs/tiny.py", [f"--config.data.dir={shapes_dir}"]).to_dict()
    return create_run(tmp_path_factory.mktemp("run") / "decoder", "decoder", config)


def test_captions_of_a_split_are_those_of_its_manifest(run, tmp_path):
    drawn = open_held_out(run, None, None, "test", 12)
    assert len(drawn.captions) == len(drawn.images) == len(drawn.items) == 12
    made = make_manifest(
        run.open_source("test"),
        name="captioned_shapes/easy",
        split="test",
        n=12,
        data=source_arguments(run.data, "test"),
    )
    write_manifest(tmp_path / "m.jsonl", made)
    read = open_held_out(run, str(tmp_path / "m.jsonl"), None, "ignored", None)
    assert read.manifest.sha256 == drawn.manifest.sha256
    assert read.captions == drawn.captions
    np.testing.assert_array_equal(read.images[3], drawn.images[3])
    # The first rows of a file are fewer captions of the same manifest.
    fewer = open_held_out(run, str(tmp_path / "m.jsonl"), None, "ignored", 5)
    assert fewer.captions == read.captions[:5] and len(fewer.images) == 5
    assert fewer.manifest.sha256 == read.manifest.sha256


def test_paraphrases_are_what_the_oracle_reads(run, shapes_dir, tmp_path):
    """Of a run whose captions are `short`, as of any other: true of the images."""
    held_out = open_held_out(run, None, None, "paraphrase", 40)
    assert score(held_out.captions, held_out.images).all_right.all()
    assert held_out.manifest.header.data["captions"] == "phrased"
    assert held_out.suffix == "_paraphrase"
    data, path = f"--data_dir={shapes_dir}", tmp_path / "m.jsonl"
    written = ["--split=paraphrase", "--n=40", f"--manifest={path}"]
    prepare.run(["captioned_shapes/easy", "--resolution=24", data, *written])
    assert read_manifest(path).sha256 == held_out.manifest.sha256


def test_images_belong_to_their_captions(run):
    held_out = open_held_out(run, None, None, "test", 12)
    source = run.open_source("test")
    for row, caption, image in zip(held_out.manifest.rows, held_out.captions, held_out.images):
        assert source[row.image]["caption"] == caption
        np.testing.assert_array_equal(source[row.image]["image"], image)


def test_further_images_are_of_the_split_and_not_of_the_manifest(run):
    held_out = open_held_out(run, None, None, "test", 12)
    further = held_out.further_images(seed=0)
    assert len(further) == 12
    known = {image.tobytes() for image in held_out.images}
    split = {item["image"].tobytes() for item in run.open_source("test")}
    others = [image.tobytes() for image in further]
    assert len(set(others)) == 12 and set(others) <= split - known
    again = held_out.further_images(seed=0)
    assert [image.tobytes() for image in again] == others
    # Of 40 captions, 25 leave no 25 others.
    most = open_held_out(run, None, None, "test", 25)
    assert most.further_images(seed=0) is None


def test_a_manifest_of_a_tfds_data_set_has_further_images(run, tmp_path):
    """Its header states no image_size, which opening a source takes all the same."""
    from tests.data.test_tfds_source import Like

    Like(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    data = {**run.config["data"], "dir": str(tmp_path), "source": "tfds:like_coco"}
    data["max_bad_share"] = 0.1  # of its images one is torn, and one has no caption
    of_tfds = dataclasses.replace(run, config={**run.config, "data": data})
    held_out = open_held_out(of_tfds, None, None, "train", 8)
    assert held_out.manifest.header.data == {}
    further = held_out.further_images(seed=0)
    reds = [{int(image[0, 0, 0]) for image in images} for images in (held_out.images, further)]
    assert len(reds[0] | reds[1]) == 16


def test_too_few_captions_are_a_sentence(run):
    with pytest.raises(ValueError, match="has 40 captions, fewer than the 41 asked for"):
        open_held_out(run, None, None, "test", 41)
    assert len(open_held_out(run, None, None, "test", None).captions) == 40
    with pytest.raises(ValueError, match=r"n is 0"):
        open_held_out(run, None, None, "test", 0)
