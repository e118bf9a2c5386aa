"""What an error about a folder of which most can't be used says is to be done."""

import pytest

from tests.data.pictures import captions, read, write

PICTURES = {"cat.png": 1, "dog.jpeg": 2}
IN_A_FOLDER = {"Images/cat.png": 1, "Images/dog.png": 2}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {**PICTURES, "captions.csv": "image,caption\ncat,x\ndog,y\n"},
            "There is no cat, but cat.png: .* suffix",
        ),
        (
            {**PICTURES, "captions.csv": "image,caption\ndog.jpg,y\n"},
            "There is no dog.jpg, but dog.jpeg: .* suffix",
        ),
        (
            {**IN_A_FOLDER, "captions.csv": "image,caption\ncat.png,x\ndog.png,y\n"},
            "There is no cat.png, but Images/cat.png: .* beside the images",
        ),
        (
            {**IN_A_FOLDER, "captions.csv": "image,caption\nC:\\me\\cat.png,x\n"},
            r"There is no C:\\me\\cat.png, but Images/cat.png",
        ),
        (
            {"cat.png": 1, "captions.csv": 'image,caption\n"cat.pn\n",x\n'},
            r"There is no 'cat\.pn\\n', but cat\.png: .* suffix",
        ),
        ({**IN_A_FOLDER, "captions.txt": "image,caption\ncat.png,x\n"}, "call it captions.csv"),
        ({**PICTURES, "metadata.xlsx": b"PK"}, "metadata.xlsx is not read: save it as CSV"),
        (
            {**PICTURES, "annotations/captions_val2017.json": "{}"},
            "COCO's annotations/captions_val2017.json is read where .*; else give it itself",
        ),
        ({**PICTURES, "results.csv": "x"}, "folder:PATH/results.csv"),
        ({**PICTURES, "cat.json": '{"shapes": []}'}, "image without caption .*Captions are read"),
    ],
)
def test_the_way_out_is_said(tmp_path, files, says):
    with pytest.raises(ValueError, match=says) as error:
        read(write(tmp_path, files), max_bad_share=0.01)
    assert "\n" not in str(error.value)


def test_a_coco_file_in_place_of_a_table_is_a_sentence(tmp_path):
    boxes = [{"id": 1, "image_id": 1, "bbox": [0, 0, 1, 1]}]
    write(tmp_path, {"a.png": 1, "c.json": {"images": [], "annotations": boxes, "info": {}}})
    with pytest.raises(ValueError, match=r"COCO's form, but not one of captions: no annotation "):
        read(tmp_path / "c.json")


@pytest.mark.parametrize("end", [".txt", ".caption", ".json"])
def test_captions_may_bear_the_whole_name_of_their_image(tmp_path, end):
    texts = ({"caption": "x"}, {"caption": "y"}) if end == ".json" else ("x", "y")
    write(tmp_path, {"a.png": 1, "a.jpg": 2, f"a.png{end}": texts[0], f"a.jpg{end}": texts[1]})
    assert captions(tmp_path) == {"a.png": ("x",), "a.jpg": ("y",)}


def test_the_stem_comes_before_the_whole_name(tmp_path):
    write(tmp_path, {"a.png": 1, "a.txt": "x", "a.png.json": {"caption": "y"}})
    assert captions(tmp_path) == {"a.png": ("x",)}
    assert read(tmp_path).report.left_out == {"other file (.json)": ["a.png.json"]}


def test_too_strict_limits_are_said(tmp_path):
    write(tmp_path, {**PICTURES, "cat.txt": "x", "dog.txt": "y", "torn.png": b"x", "torn.txt": "z"})
    with pytest.raises(ValueError, match="left out by min_side or max_aspect_ratio"):
        read(tmp_path, min_side=100)


def test_a_column_that_text_files_cannot_have_is_noted(tmp_path):
    write(tmp_path, {**PICTURES, "cat.txt": "x", "dog.json": {"alt": "y"}})
    assert captions(tmp_path, caption_column="alt") == {"cat.png": ("x",), "dog.jpeg": ("y",)}
    ((note, names),) = read(tmp_path, caption_column="alt").report.noted.items()
    assert "caption_column" in note and names == ["cat.png"]
    assert read(tmp_path).report.noted == {}
