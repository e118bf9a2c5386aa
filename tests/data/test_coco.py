import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.coco_manifest import make_coco_manifest
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


def test_thirty_thousand_captions_by_default(annotations):
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
    ("content", "what"),
    [
        ("{", "it is no JSON"),
        ("[" * 10_000, "it is no JSON"),
        ("\xff", "it is no JSON"),
        ("[]", "it is a JSON list, not an object"),
        ("null", "it is a JSON NoneType"),
        ('{"images": []}', "it has no annotations, but images"),
        ('{"info": {}, "licenses": []}', "no images and no annotations, but info, licenses"),
        ('{"images": {}, "annotations": []}', "its images are no list"),
        (
            '{"images": [], "annotations": [{"id": 1, "image_id": 1, "bbox": []}]}',
            "no annotation has a caption, but id, image_id, bbox",
        ),
    ],
)
def test_other_files_get_a_sentence(tmp_path, content, what):
    path = tmp_path / "captions.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="is not a COCO annotation file of captions") as error:
        make_coco_manifest(path, n=1)
    assert what in str(error.value) and "\n" not in str(error.value)


def written(path, *, images=(), captions=(), count=4):
    """A file of sound images 1 … count with a dog each, and further rows before them."""
    images = [*images, *({"id": i, "file_name": f"{i}.jpg"} for i in range(1, count + 1))]
    dogs = [{"id": i, "image_id": i, "caption": "A dog."} for i in range(1, count + 1)]
    path.write_text(json.dumps({"images": images, "annotations": [*captions, *dogs]}))
    return path


CAPTION = {"id": 90, "image_id": 1, "caption": "A cat."}
NO_TEXT, OF_1 = "caption that is no text", "caption 90 of image 1"
NO_NUMBER, FIRST = "caption without a number", "annotations[0]"
TWICE = {**CAPTION, "id": 1}
BAD_CAPTIONS = [
    ({**CAPTION, "image_id": 99}, "of an image that is not among the images", "90 of image 99"),
    *(({**CAPTION, "caption": caption}, NO_TEXT, OF_1) for caption in (None, 3, ["A cat."])),
    ({"id": 90, "image_id": 1}, NO_TEXT, OF_1),
    ({**CAPTION, "caption": "a\0b"}, "holds a NUL", OF_1),
    ({**CAPTION, "caption": "a\udc80b"}, "holds a lone surrogate", OF_1),
    ({**CAPTION, "caption": "a" * 10_001}, "has 10001 characters", OF_1),
    (TWICE, "number of two captions", "caption 1 of image 1"),
    *(({**CAPTION, "id": n}, NO_NUMBER, FIRST) for n in (None, True, "x", 1.5, float("nan"))),
    ({**CAPTION, "image_id": None}, "caption without an image", FIRST),
    (None, NO_NUMBER, FIRST),
    ([90, 1, "A cat."], NO_NUMBER, FIRST),
]


@pytest.mark.parametrize(("row", "reason", "name"), BAD_CAPTIONS)
@pytest.mark.parametrize("rule", ["one", "all"])
def test_one_bad_caption_is_skipped_and_named(tmp_path, row, reason, name, rule):
    path = written(tmp_path / "captions_x.json", captions=[row])
    used = r"coco captions_x\.json: 4 of 5 items used; 1 skipped: "
    with pytest.warns(UserWarning, match=used) as warned:
        manifest = make_coco_manifest(path, rule=rule, n=None, max_bad_share=0.2)
    assert len(manifest) == 4
    assert row is TWICE or set(manifest.captions) == {"A dog."}  # or the first of the two
    (message,) = [str(warning.message) for warning in warned]
    assert reason in message and name in message
    with pytest.raises(ValueError, match="more than the share allowed") as error:
        make_coco_manifest(path, rule=rule, n=None)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("row", "reason", "name"),
    [
        ({"id": 9}, "image without a file name", "image 9"),
        ({"id": 9, "file_name": None}, "image without a file name", "image 9"),
        ({"id": 9, "file_name": " "}, "image without a file name", "image 9"),
        ({"file_name": "9.jpg"}, "image without a number", "images[0]"),
        ({"id": [9], "file_name": "9.jpg"}, "image without a number", "images[0]"),
        ("9.jpg", "image without a number", "images[0]"),
        ({"id": 1, "file_name": "one.jpg"}, "number of two images", "image 1: one.jpg, 1.jpg"),
    ],
)
def test_one_bad_image_is_skipped_and_named(tmp_path, row, reason, name):
    path = written(tmp_path / "captions_x.json", images=[row])
    with pytest.warns(UserWarning) as warned:
        assert len(make_coco_manifest(path, n=None, max_bad_share=0.2)) == 4
    assert f"1 skipped: {reason} ({name})" in str(warned[0].message)


@pytest.mark.parametrize(
    ("image", "caption", "reason"),
    [
        ({"id": 9}, "A cat.", "of a bad image"),
        ({"id": 9, "file_name": "9.jpg"}, " ", "empty caption"),
    ],
)
def test_captions_that_no_image_can_have_are_named_with_it(tmp_path, image, caption, reason):
    row = {"id": 90, "image_id": 9, "caption": caption}
    path = written(tmp_path / "captions_x.json", images=[image], captions=[row])
    with pytest.warns(UserWarning, match=rf"1 skipped: {reason} \(caption 90 of image 9\)"):
        assert len(make_coco_manifest(path, n=None, max_bad_share=0.5)) == 4


@pytest.mark.parametrize("blank", ["", " ", "\n", "\u200b", "\u00a0\u00ad"])
def test_a_blank_caption_beside_another_is_no_bad_row(tmp_path, blank):
    row = {"id": 0, "image_id": 1, "caption": blank}
    path = written(tmp_path / "captions_x.json", captions=[row], count=2)
    said = r"1 blank captions beside others \(caption 0 of image 1\)"
    with pytest.warns(UserWarning, match=said):
        manifest = make_coco_manifest(path, n=2)
    assert manifest.captions == ["A dog."] * 2


def test_several_files_are_put_together(tmp_path):
    one = written(tmp_path / "captions_train2014.json")
    notes = [{"id": 70, "image_id": 7, "caption": "A cow."}]
    notes.append({"id": 30, "image_id": 2, "caption": "A second dog."})  # of the other file's image
    document = {"images": [{"id": 7, "file_name": "7.jpg"}], "annotations": notes}
    two = tmp_path / "captions_val2014.json"
    two.write_text(json.dumps(document))
    manifest = make_coco_manifest([one, two], rule="all", n=None)
    assert {row.id for row in manifest.rows} == {"1#1", "2#2", "2#30", "3#3", "4#4", "7#70"}
    header = manifest.header
    assert header.source == "coco:captions_train2014.json+captions_val2014.json"
    assert header.split == "train2014+val2014" and len(header.data["annotations_sha256"]) == 2
    with pytest.raises(FileNotFoundError, match=r"no annotation file .*none"):
        make_coco_manifest([one, tmp_path / "none.json"])


def test_the_hash_of_a_sound_file_s_manifest_is_what_it_always_was(tmp_path):
    path = written(tmp_path / "captions_x.json")
    hashes = {rule: make_coco_manifest(path, rule=rule, n=3).sha256[:16] for rule in ("one", "all")}
    assert hashes == {"one": "15797e66ca5a5f64", "all": "f827b90f22402062"}


def test_files_lead_out_of_no_folder(tmp_path):
    path = tmp_path / "captions.json"
    notes = [{"id": 1, "image_id": 1, "caption": "x"}]
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "../x"}], "annotations": notes}))
    with pytest.raises(ValueError, match=r"'\.\./x' leads out"):
        make_coco_manifest(path, n=1)
    with pytest.raises(FileNotFoundError, match="no annotation file"):
        make_coco_manifest(tmp_path / "none.json")
