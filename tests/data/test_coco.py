import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.coco import make_coco_manifest
from dalle_jax.data.manifest_source import open_manifest

IMAGES = [9, 42, 73, 100]


@pytest.fixture
def annotations(tmp_path):
    """Three captions an image, in no order, as the official file has them."""
    rng = np.random.default_rng(0)
    notes = [
        {"image_id": image, "id": 10 * image + k, "caption": f"caption {k} of {image} .\n"}
        for image in IMAGES
        for k in range(3)
    ]
    rng.shuffle(notes)
    images = [
        {"id": i, "file_name": f"COCO_val2014_{i:012d}.jpg", "width": 640, "height": 480}
        for i in IMAGES
    ]
    path = tmp_path / "captions_val2014.json"
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": notes}))
    return path


def test_one_caption_an_image_is_that_of_the_lowest_number(annotations):
    manifest = make_coco_manifest(annotations, n=4)
    assert {(row.id, row.caption, row.image) for row in manifest.rows} == {
        (str(i), f"caption 0 of {i} .", f"COCO_val2014_{i:012d}.jpg") for i in IMAGES
    }
    header = manifest.header
    assert (header.source, header.split) == ("coco:captions_val2014.json", "val2014")
    digest = hashlib.sha256(annotations.read_bytes()).hexdigest()
    assert header.data == {"annotations_sha256": digest}


def test_all_captions_are_named_by_image_and_annotation(annotations):
    manifest = make_coco_manifest(annotations, rule="all", n=None)
    assert {row.id for row in manifest.rows} == {
        f"{i}#{10 * i + k}" for i in IMAGES for k in range(3)
    }
    assert len(make_coco_manifest(annotations, rule="all", n=5)) == 5


def test_thirty_thousand_unless_told_otherwise(annotations):
    with pytest.raises(ValueError, match="has 4 captions by the rule 'one'; n is 30000"):
        make_coco_manifest(annotations)


def test_images_are_opened_from_their_folder(annotations, tmp_path):
    folder = tmp_path / "val2014"
    folder.mkdir()
    for i in IMAGES:
        Image.new("RGB", (6, 5), (i, i, i)).save(folder / f"COCO_val2014_{i:012d}.jpg")
    source = open_manifest(make_coco_manifest(annotations, n=4), source=f"folder:{folder}")
    assert {item["id"]: int(item["image"].mean()) for item in source} == {str(i): i for i in IMAGES}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"images": []}',
        '{"images": [{"id": 1}], "annotations": []}',
        '{"images": [], "annotations": [{"id": 1, "image_id": 2, "caption": "x"}]}',
        '{"images": [{"id": 1, "file_name": "a"}], '
        '"annotations": [{"id": 1, "image_id": 1, "caption": 3}]}',
        "[" * 10_000,
    ],
)
def test_other_files_get_a_sentence(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="is not a COCO annotation file of captions"):
        make_coco_manifest(path, n=1)


def test_files_lead_out_of_no_folder(tmp_path):
    path = tmp_path / "captions.json"
    notes = [{"id": 1, "image_id": 1, "caption": "x"}]
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "../x"}], "annotations": notes}))
    with pytest.raises(ValueError, match=r"'\.\./x' leads out"):
        make_coco_manifest(path, n=1)
    with pytest.raises(FileNotFoundError, match="no annotation file"):
        make_coco_manifest(tmp_path / "none.json")
