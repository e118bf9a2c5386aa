"""What an error about a folder of which most can't be used says is to be done."""

import pytest

from tests.data.pictures import read, write

PICTURES = {"cat.png": 1, "dog.jpeg": 2}
IN_A_FOLDER = {"Images/cat.png": 1, "Images/dog.png": 2}


def table(*rows):
    return {"captions.csv": "".join(f"{row}\n" for row in ("image,caption", *rows))}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({**PICTURES, **table("cat,x", "dog,y")}, "There is no cat, but cat.png: .* suffix"),
        ({**PICTURES, **table("dog.jpg,y")}, "There is no dog.jpg, but dog.jpeg: .* suffix"),
        (
            {**IN_A_FOLDER, **table("cat.png,x", "dog.png,y")},
            "There is no cat.png, but Images/cat.png: .* beside the images",
        ),
        (
            {**IN_A_FOLDER, **table("C:\\me\\cat.png,x")},
            r"There is no C:\\me\\cat.png, but Images/cat.png",
        ),
        (
            {"cat.png": 1, **table('"cat.pn\n",x')},
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


def test_too_strict_limits_are_said(tmp_path):
    write(tmp_path, {**PICTURES, "cat.txt": "x", "dog.txt": "y", "torn.png": b"x", "torn.txt": "z"})
    with pytest.raises(ValueError, match="left out by min_side or max_aspect_ratio"):
        read(tmp_path, min_side=100)
