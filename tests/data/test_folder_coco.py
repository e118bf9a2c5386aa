"""COCO's annotation files of captions beside the folders of images."""

import os
import shutil

import pytest

from tests.data.pictures import captions, read, write


def coco(numbers, name="{:012d}.png", **more):
    """An annotation file of these images, each of which has two captions."""
    return {
        "info": {},
        "images": [{"id": n, "file_name": name.format(n)} for n in numbers],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "caption": f"{word} {n}"}
            for n in numbers
            for k, word in enumerate(("first", "second"))
        ],
        **more,
    }


def of_2017(root, place="annotations/"):
    """COCO as it is laid out, with other files of its folders."""
    images = {f"train2017/{n:012d}.png": n for n in range(8)}
    images |= {f"val2017/{n:012d}.png": n for n in range(8, 10)}
    boxes = {**coco(range(8)), "annotations": [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]}
    write(root, {**images, "test2017/000000000077.png": 77})
    write(root, {f"{place}captions_train2017.json": coco(range(8))})
    write(root, {f"{place}captions_val2017.json": coco(range(8, 10))})
    write(root, {f"{place}instances_train2017.json": boxes})
    return root


ALL = {
    f"{'train' if n < 8 else 'val'}2017/{n:012d}.png": (f"first {n}", f"second {n}")
    for n in range(10)
}
WITHOUT_TEST = {"test_share": 0.0}


@pytest.mark.parametrize("place", ["annotations/", ""])
def test_coco_as_it_is_laid_out_is_read(tmp_path, place):
    of_2017(tmp_path, place)
    assert captions(tmp_path) == ALL
    assert {*captions(tmp_path, "train", **WITHOUT_TEST)} == {n for n in ALL if "train" in n}
    assert {*captions(tmp_path, "validation")} == {n for n in ALL if "val" in n}
    report = read(tmp_path).report
    assert not report.skipped and "its own train and validation" in report.what
    assert report.left_out == {
        "image that the table does not name": ["test2017/000000000077.png"],
        "other file (.json)": [f"{place}instances_train2017.json"],
    }


def test_a_part_of_coco_is_its_captions_file(tmp_path):
    of_2017(tmp_path)
    for split in ("train", "val"):
        file = tmp_path / "annotations" / f"captions_{split}2017.json"
        assert captions(file) == {name: texts for name, texts in ALL.items() if split in name}
    # Without val, validation and test are taken out by a hash.
    splits = [
        captions(tmp_path / "annotations/captions_train2017.json", split, test_share=0.5)
        for split in ("train", "validation", "test")
    ]
    assert sum(map(len, splits)) == 8 and splits[2]
    with pytest.raises(ValueError, match="has no train split; it has validation"):
        read(file, "train")


@pytest.mark.parametrize("given", ["annotations", "train2017"])
def test_a_part_without_the_rest_says_what_to_give(tmp_path, given):
    of_2017(tmp_path)
    with pytest.raises(ValueError, match=rf"is read with .*: give folder:{tmp_path}$"):
        read(tmp_path / given)


def test_the_same_name_in_two_splits_is_two_images(tmp_path):
    for number, split in enumerate(("train", "val")):
        write(tmp_path, {f"{split}/{n}.png": n + 5 * number for n in range(5)})
        document = coco(range(5), "{}.png")
        for row in document["annotations"]:
            row["caption"] += f" of {split}"
        write(tmp_path, {f"captions_{split}.json": document})
    found = captions(tmp_path)
    assert len(found) == 10
    assert all(texts[0].endswith(f"of {name[:-6]}") for name, texts in found.items())
    # Without its folder a split has no images, and takes none of the other's.
    shutil.rmtree(tmp_path / "train")
    assert {*captions(tmp_path)} == {f"val/{n}.png" for n in range(5)}
    assert {*read(tmp_path).report.skipped} == {"no image"}
    os.rename(tmp_path / "val", tmp_path / "val_images")
    assert {*captions(tmp_path)} == {f"val_images/{n}.png" for n in range(5)}


def test_images_may_lie_in_a_folder_of_another_name(tmp_path):
    write(tmp_path, {f"images/{n:012d}.png": n for n in range(3)})
    write(tmp_path, {"annotations/captions_train2017.json": coco(range(3))})
    assert captions(tmp_path)["images/000000000002.png"] == ("first 2", "second 2")


def test_files_of_two_years_are_refused(tmp_path):
    of_2017(tmp_path)
    write(tmp_path, {"annotations/captions_val2014.json": coco(range(3))})
    with pytest.raises(ValueError, match=r"both annotations/captions_.*2017.*val2014.*or name one"):
        read(tmp_path)
    assert len(captions(tmp_path / "annotations/captions_val2017.json")) == 2


@pytest.mark.parametrize(
    "files",
    [
        {"train2017/000000000001.txt": "x"},
        {"train2017/000000000001.json": {"caption": "x"}},
        {"train2017/000000000001.png.txt": "x"},
        {"metadata.jsonl": [{"file_name": "train2017/000000000001.png", "text": "x"}]},
    ],
)
def test_other_captions_come_first(tmp_path, files):
    write(of_2017(tmp_path), files)
    assert captions(tmp_path) == {"train2017/000000000001.png": ("x",)}
    left_out = read(tmp_path).report.left_out["other file (.json)"]
    assert "annotations/captions_train2017.json" in left_out


@pytest.mark.parametrize(
    "document", ["{}", "[]", '[{"file_name": "a.png"}]', '{"images": 3, "annotations": []}']
)
def test_json_of_that_name_that_is_not_coco_s_is_another_file(tmp_path, document):
    write(tmp_path, {"a.png": 1, "captions_train.json": document})
    with pytest.raises(ValueError, match="0 of 1 items used; 1 skipped: image without caption"):
        read(tmp_path)


def test_a_torn_file_is_an_error_at_once(tmp_path):
    write(tmp_path, {"train/1.png": 1, "captions_train.json": '{"images": [{"id": 1, "file'})
    with pytest.raises(ValueError, match=r"captions_train\.json is not JSON"):
        read(tmp_path)


def test_bad_rows_are_named(tmp_path):
    document = coco(range(4), "{}.png")
    document["images"] += [{"id": 5}, {"id": 6, "file_name": "6.png"}]
    document["annotations"] += [
        {"id": 50, "image_id": 99, "caption": "of none"},
        {"id": 51, "image_id": 0, "caption": None},
        {"id": 52, "image_id": 5, "caption": "x"},
        {"id": 53, "image_id": 1, "caption": "  "},
    ]
    write(tmp_path, {f"train/{n}.png": n for n in (0, 1, 2, 6)})
    write(tmp_path, {"captions_train.json": document})
    assert captions(tmp_path) == {f"train/{n}.png": (f"first {n}", f"second {n}") for n in range(3)}
    table = "captions_train.json"
    assert read(tmp_path).report.skipped == {
        "of an image that is not among the images": [f"{table}:caption 50 of image 99"],
        "caption that is no text": [f"{table}:caption 51 of image 0"],
        "image without a file name": [f"{table}:image 5"],
        "of a bad image": [f"{table}:caption 52 of image 5"],
        "no image": ["3.png"],
        "empty caption": ["train/6.png"],
    }
