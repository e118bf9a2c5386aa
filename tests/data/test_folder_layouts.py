import csv
import io
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dalle_jax.data.open import open_source
from tests.data.encoded import encoded, parquet
from tests.data.pictures import captions, numbers, png, read, write

IMAGES = {f"{i}.png": i for i in range(3)}
RECORDS = [{"file_name": f"{i}.png", "text": f"no. {i}"} for i in range(3)]
EXPECTED = {f"{i}.png": (f"no. {i}",) for i in range(3)}


def as_table(name, prefix=""):
    records = [{**record, "file_name": prefix + record["file_name"]} for record in RECORDS]
    if name.endswith(".parquet"):
        return parquet(records)
    if name.endswith(".jsonl"):
        return "\n".join(map(json.dumps, records))
    if name.endswith(".json"):
        return json.dumps(records)
    separator = "\t" if name.endswith(".tsv") else ","
    return "\n".join([f"file_name{separator}text"] + [separator.join(r.values()) for r in records])


NAMES = [
    f"{name}.{end}"
    for name in ("metadata", "captions")
    for end in ("jsonl", "json", "csv", "tsv", "parquet")
]


@pytest.mark.parametrize("table", [*NAMES, "Metadata.CSV", "METADATA.jsonl"])
@pytest.mark.parametrize("folder", ["", "images/", "train/deep/"])
def test_a_table_names_files_relative_to_its_own_folder(tmp_path, table, folder):
    write(tmp_path, {folder + name: number for name, number in IMAGES.items()})
    write(tmp_path, {folder + table: as_table(table)})
    assert captions(tmp_path) == {folder + name: texts for name, texts in EXPECTED.items()}
    assert not read(tmp_path).report.skipped


def test_tables_of_several_folders_are_joined(tmp_path):
    write(tmp_path, {"x/0.png": 0, "x/1.png": 1, "y/0.png": 2})
    write(
        tmp_path, {"x/metadata.jsonl": RECORDS[:2], "y/captions.csv": "file_name,text\n0.png,y\n"}
    )
    write(tmp_path, {"captions.jsonl": [{"file_name": "y/0.png", "text": "root"}]})
    assert captions(tmp_path) == {
        "x/0.png": ("no. 0",),
        "x/1.png": ("no. 1",),
        "y/0.png": ("root", "y"),
    }


def test_two_tables_in_a_folder_are_an_error_that_names_both(tmp_path):
    write(tmp_path, {**{f"sub/{name}": i for name, i in IMAGES.items()}})
    write(tmp_path, {"sub/captions.csv": as_table("captions.csv"), "sub/metadata.json": "[]"})
    assert len(captions(tmp_path)) == 3  # JSON of another form is no table.
    write(tmp_path, {"sub/metadata.json": as_table("metadata.json")})
    with pytest.raises(
        ValueError, match=r"/sub holds both captions.csv and metadata.json; keep one"
    ):
        read(tmp_path)
    assert len(captions(tmp_path / "sub" / "metadata.json")) == 3


@pytest.mark.parametrize("other", [{"name": "cards"}, [], {}, [[1]], 5])
def test_json_of_another_form_is_left_out_and_captions_lie_beside(tmp_path, other):
    write(tmp_path, {"0.png": 0, "0.txt": "zero", "metadata.json": json.dumps(other)})
    assert captions(tmp_path) == {"0.png": ("zero",)}
    assert read(tmp_path).report.left_out == {"other file (.json)": ["metadata.json"]}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.txt": "red\n\n crimson \r\nred"}, ("red", "crimson", "red")),
        ({"a.caption": "red"}, ("red",)),
        ({"a.TXT": "red"}, ("red",)),
        ({"A.txt": "red"}, ("red",)),
        ({"a.json": {"caption": "red", "tags": 5}}, ("red",)),
        ({"a.json": {"captions": ["red", "crimson"]}}, ("red", "crimson")),
        ({"a.txt": "red", "a.json": {"caption": "blue"}}, ("red",)),
        ({"a.txt": "", "a.json": {"caption": "blue"}}, ("blue",)),
        ({"a.txt": "", "a.caption": "blue"}, ("blue",)),
        ({"a.txt": "red", "a.caption": "blue"}, ("red",)),
        ({"a.caption": "red", "a.json": {"caption": "blue"}}, ("red",)),
        ({"a.txt": "ro\u2028sé\x85"}, ("ro\u2028sé",)),
        ({"a.txt": "rosé".encode("utf-16")}, ("rosé",)),
        ({"a.txt": "rosé".encode("utf-8-sig")}, ("rosé",)),
    ],
)
def test_captions_beside_an_image(tmp_path, files, expected):
    write(tmp_path, {"a.png": 1, "b.png": 2, "b.txt": "blue", **files})
    assert captions(tmp_path)["a.png"] == expected
    assert not read(tmp_path).report.skipped


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "image without caption"),
        ({"a.txt": ""}, "empty caption"),
        ({"a.txt": " \n\u200b\n"}, "empty caption"),
        ({"a.json": {"tags": "x"}}, "image without caption"),
        ({"a.json": "[1]"}, "unreadable caption: no JSON object with a caption"),
        ({"a.json": '{"caption": 5}'}, "unreadable caption: no JSON object with a caption"),
        ({"a.json": "[" * 100_000}, "unreadable caption: no JSON object with a caption"),
        ({"a.txt": b"ros\xe9"}, "unreadable caption: not UTF-8 (cp1252? state encoding=cp1252)"),
        ({"a.txt": b"\xff\xfea"}, "unreadable caption: not UTF-16"),
        ({"a.jpg": 3, "a.txt": "red"}, "caption file of several images"),
        ({"a.png": b"torn", "a.txt": "red"}, "unreadable image"),
        ({"a.png": b"", "a.txt": "red"}, "unreadable image: an empty file"),
    ],
)
def test_what_is_wrong_beside_an_image_is_named(tmp_path, files, reason):
    write(tmp_path, {"a.png": 1, "b.png": 2, "b.txt": "blue", **files})
    assert captions(tmp_path) == {"b.png": ("blue",)}
    names = ["a.jpg", "a.png"] if "a.jpg" in files else ["a.png"]
    report = read(tmp_path).report
    assert report.skipped == {reason: names} and f"{len(names)} skipped: {reason}" in str(report)


def test_a_stated_encoding_is_that_of_the_files_beside(tmp_path):
    write(tmp_path, {"a.png": 1, "a.txt": "rosé".encode("cp1252"), "b.png": 2, "b.txt": "blue"})
    assert captions(tmp_path, encoding="cp1252") == {"a.png": ("rosé",), "b.png": ("blue",)}
    with pytest.raises(ValueError, match="no text encoding 'cp9'"):
        read(tmp_path, encoding="cp9")


@pytest.mark.parametrize("suffix", ["heic", "jxl", "svg", "cr2", "NEF"])
def test_an_image_of_a_format_that_is_not_read_is_bad(tmp_path, suffix):
    write(tmp_path, {f"a.{suffix}": b"x", "a.txt": "red", "b.png": 1, "b.txt": "blue"})
    assert captions(tmp_path) == {"b.png": ("blue",)}
    reason = f"image of a format that is not read (.{suffix.lower()})"
    assert read(tmp_path).report.skipped == {reason: [f"a.{suffix}"]}


def test_the_original_beside_an_image_is_left_out(tmp_path):
    write(tmp_path, {"a.heic": b"x", "a.png": 1, "a.txt": "red"})
    assert captions(tmp_path) == {"a.png": ("red",)}
    assert [*read(tmp_path).report.left_out.values()] == [["a.heic"]]


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "TIFF", "JPEG2000", "PPM", "TGA", "GIF", "BMP"])
def test_every_format_of_pillow_is_read(tmp_path, kind):
    suffix = next(s for s, k in Image.registered_extensions().items() if k == kind)
    Image.new("RGB", (16, 16), "red").save(tmp_path / f"a{suffix}", kind)
    write(tmp_path, {"a.txt": "red"})
    assert len(captions(tmp_path)) == 1


def test_all_that_is_left_out_is_named_by_reason(tmp_path):
    write(
        tmp_path, {"a.png": 1, "a.txt": "red", "README.md": "x", "LICENSE": "x", "README.txt": "x"}
    )
    write(tmp_path, {".ipynb_checkpoints/a-checkpoint.png": 2, "Thumbs.db": "x", "a.caption": "y"})
    write(tmp_path, {"__MACOSX/._a.png": "x", "x.json": {}, "a.TXT": "z", ".DS_Store": "x"})
    os.symlink("nothing.png", tmp_path / "broken.png")
    os.symlink(".", tmp_path / "again")
    report = read(tmp_path).report
    assert report.left_out == {
        "hidden": [".DS_Store", ".ipynb_checkpoints/"],
        "system file": ["Thumbs.db", "__MACOSX/"],
        "broken link": ["broken.png"],
        "link in a circle": ["again/"],
        "other file (.md)": ["README.md"],
        "other file (.json)": ["x.json"],
        "other file without suffix": ["LICENSE"],
        "caption file without image": ["README.txt"],
        "second caption file of a name": ["a.TXT", "a.caption"],
    }
    assert report.total == 1 and not report.skipped
    assert "1 left out: broken link (broken.png)" in str(report)


def test_images_that_no_row_names_are_bad_and_the_way_out_is_said(tmp_path):
    write(tmp_path, {f"{i}.png": i for i in range(9)})
    write(tmp_path, {"captions.csv": "file_name,caption\n0.png,zero\n", "part.csv": "x"})
    with pytest.raises(
        ValueError, match=r"8 skipped: image without caption.*folder:PATH/part\.csv"
    ):
        read(tmp_path, max_bad_share=0.01)


@pytest.mark.filterwarnings("ignore:folder")
@pytest.mark.parametrize(
    "table", ["part.csv", "part.jsonl", "part.json", "part.tsv", "part.parquet"]
)
def test_a_table_names_part_of_a_folder_on_purpose(tmp_path, table):
    images = {f"sub/{i}.png": i for i in range(5)}
    write(tmp_path, {**images, table: as_table(table, "sub/"), "sub/0.txt": "not this"})
    write(tmp_path, {"metadata.jsonl": [{"file_name": "sub/4.png", "text": "nor this"}]})
    expected = {f"sub/{name}": texts for name, texts in EXPECTED.items()}
    assert captions(tmp_path / table, max_bad_share=0.0) == expected
    report = read(tmp_path / table).report
    assert report.left_out == {"image that the table does not name": ["sub/3.png", "sub/4.png"]}
    source = open_source(f"folder:{tmp_path}/{table}", data_dir="", split="all", image_size=8)
    assert len(source) == 3


def test_the_split_of_an_image_is_that_of_the_folder_whichever_table_names_it(tmp_path):
    images = {f"{i}.png": i for i in range(40)}
    rows = [{"file_name": name, "text": "x"} for name in images]
    write(tmp_path, {**images, "metadata.jsonl": rows, "part.jsonl": rows[::2]})
    for split in ("train", "validation", "test"):
        shares = {"validation_share": 0.3, "test_share": 0.3}
        whole, part = (captions(p, split, **shares) for p in (tmp_path, tmp_path / "part.jsonl"))
        assert part == {name: text for name, text in whole.items() if int(name[:-4]) % 2 == 0}


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("none", FileNotFoundError, "there is no folder .*none"),
        ("none.csv", FileNotFoundError, "there is no folder .*none.csv"),
        ("a.png", ValueError, "is a file, but no table of captions, which ends in .jsonl"),
    ],
)
def test_a_place_without_data_is_a_sentence(tmp_path, path, error, says):
    write(tmp_path, {"a.png": 1})
    with pytest.raises(error, match=says):
        read(tmp_path / path)


@pytest.mark.parametrize(("name", "hint"), [("0.tar", "webdataset:"), ("a.parquet", "parquet:")])
def test_a_folder_of_other_data_says_how_it_is_read(tmp_path, name, hint):
    write(tmp_path, {name: "x", "notes.md": "x"})
    with pytest.raises(ValueError, match=f"holds no items.*{name}.*as {hint}PATH"):
        read(tmp_path)


def test_the_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, {"pics/a.png": 1, "pics/a.txt": "red"})
    assert captions("~/pics") == {"a.png": ("red",)}


def test_several_captions_know_their_columns(tmp_path):
    rows = [{"file_name": "0.png", "alt": "red", "blip": "a red card", "llava": None}]
    rows += [{"file_name": "1.png", "alt": "", "blip": "blue", "llava": "blue"}]
    write(tmp_path, {**IMAGES, "metadata.jsonl": rows})
    source = read(tmp_path, caption_column="alt,blip,llava")
    assert [(item["captions"], item["caption_columns"]) for item in (source[0], source[1])] == [
        (("red", "a red card"), ("alt", "blip")),
        (("blue", "blue"), ("blip", "llava")),
    ]
    assert "caption_columns" not in read(tmp_path, caption_column="blip")[0]


def karpathy(files):
    images = [
        {
            "filepath": folder,
            "filename": name,
            "split": split,
            "sentences": [{"raw": f"{name} {split}"}],
        }
        for folder, name, split in files
    ]
    return json.dumps({"images": images, "dataset": "coco"})


@pytest.mark.parametrize("place", ["", "annotations/"])
def test_karpathys_splits_lie_beside_or_above_the_images(tmp_path, place):
    splits = ["train", "restval", "val", "test"]
    files = [("val2014", f"{i}.png", split) for i, split in enumerate(splits)]
    write(tmp_path, {f"val2014/{name}": i for i, (_, name, _) in enumerate(files)})
    write(tmp_path, {f"{place}dataset_coco.json": karpathy(files)})
    shares = {"validation_share": 0.5, "test_share": 0.5}
    read_splits = {
        split: captions(tmp_path, split, **shares) for split in ("train", "validation", "test")
    }
    assert {split: [*items] for split, items in read_splits.items()} == {
        "train": ["val2014/0.png", "val2014/1.png"],
        "validation": ["val2014/2.png"],
        "test": ["val2014/3.png"],
    }
    assert not read(tmp_path).report.skipped
    assert "own train and validation and test" in str(read(tmp_path).report)


def test_karpathys_file_of_flickr_names_no_folder(tmp_path):
    document = json.loads(
        karpathy([("", "1.png", "train"), ("", "2.png", "test"), ("", "3.png", "val")])
    )
    for image in document["images"]:
        del image["filepath"]
    write(tmp_path, {"images/1.png": 1, "images/2.png": 2, "copy/2.png": 2})
    write(tmp_path, {"dataset_flickr8k.json": document})
    assert captions(tmp_path) == {"images/1.png": ("1.png train",)}
    skipped = read(tmp_path).report.skipped
    assert skipped["ambiguous name"] == ["2.png"] and skipped["no image"] == ["3.png"]
    assert len(captions(tmp_path / "dataset_flickr8k.json")) == 1


def square(border):
    image = Image.new("RGB", (64, 64), "white" if border else "gray")
    image.paste(Image.new("RGB", (64, 32), "gray"), (0, 16))
    return encoded(image)


def test_a_folder_of_img2dataset(tmp_path):
    for i in range(4):
        key = f"0000{i % 2}/0000{i % 2}000{i}"
        record = {"caption": f"no. {i}", "url": "http://x", "key": key, "status": "success"}
        record |= {"width": 64, "height": 64, "original_width": 640, "original_height": 320}
        write(tmp_path, {f"{key}.jpg": square(border=i < 2), f"{key}.json": record})
        write(tmp_path, {f"{key}.txt": f"no. {i}"})
    write(tmp_path, {"00000.parquet": "x", "00001.parquet": "x", "00000_stats.json": {"count": 2}})
    assert sorted(captions(tmp_path).values()) == [(f"no. {i}",) for i in range(4)]
    report = read(tmp_path).report
    assert report.left_out == {
        "table or statistics of img2dataset": ["00000.parquet", "00000_stats.json", "00001.parquet"]
    }
    ((note, names),) = report.noted.items()
    assert "resize_mode=border" in note and len(names) == 2 and not report.skipped


def test_pixels_come_as_they_are(tmp_path):
    write(tmp_path, {"a.png": png(0x0A0B0C, 3, 2), "a.txt": "x"})
    np.testing.assert_array_equal(
        read(tmp_path)[0]["image"], np.broadcast_to([10, 11, 12], (2, 3, 3))
    )


def damage(text, data):
    """The text with three marks put in between words, or some that follow each other taken out."""
    marks = '",\n\r;\t \u2028'
    if data.draw(st.booleans()):
        where = data.draw(st.sampled_from(edges(text, marks)))
        return text[:where] + text[where:].lstrip(marks)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(edges(text, marks)))
        text = text[:where] + data.draw(st.sampled_from(marks)) + text[where:]
    return text


def edges(text, marks):
    return [0, *(i for i in range(1, len(text)) if text[i] in marks or text[i - 1] in marks)]


TABLE_ROWS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["it shows {}", '{}, "torn", it', "{}\n{}", "{}"])
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(table=TABLE_ROWS, name=st.sampled_from(["captions.csv", "captions.tsv"]), data=st.data())
def test_no_image_of_a_damaged_table_gets_the_caption_of_another(
    tmp_path_factory, table, name, data
):
    root = tmp_path_factory.getbasetemp() / f"damaged{name[-3:]}"
    words = [f"x{i}x" for i in range(6)]
    write(root, {f"{word}.png": i for i, word in enumerate(words)})
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="," if name.endswith("csv") else "\t")
    writer.writerow(["file_name", "caption"])
    writer.writerows((f"{words[i]}.png", caption.format(*[words[i]] * 2)) for i, caption in table)
    write(root, {name: damage(file.getvalue(), data)})
    try:
        found = numbers(root)
    except ValueError as error:
        assert len(str(error)) < 1500
        return
    for number, texts in found.items():
        named = {word for word in words for text in texts if word in text}
        assert named <= {words[number]}, (number, texts)


def test_a_named_field_of_json_comes_before_a_text(tmp_path):
    write(
        tmp_path, {"a.png": 1, "a.txt": "old", "a.json": {"alt": "new"}, "b.png": 2, "b.txt": "b"}
    )
    assert captions(tmp_path) == {"a.png": ("old",), "b.png": ("b",)}
    assert captions(tmp_path, caption_column="alt") == {"a.png": ("new",), "b.png": ("b",)}


def test_a_field_that_no_json_beside_an_image_has_is_refused(tmp_path):
    records = {"a.json": {"alt": "x", "blip": "y"}, "b.json": {"alt": "z"}}
    write(tmp_path, {"a.png": 1, "b.png": 2, **records})
    assert captions(tmp_path, caption_column="alt,blip") == {"a.png": ("x", "y"), "b.png": ("z",)}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"=blipp names no field of the JSON .* alt, blip"):
            read(tmp_path, caption_column="alt,blipp")


def test_what_a_table_names_is_not_left_out(tmp_path):
    write(tmp_path, {"a.bin": 1, "b": 2, "c": 3, "captions.csv": "file,text\na.bin,x\nb,y\n"})
    source = read(tmp_path)
    assert len(source) == 2
    assert source.report.left_out == {"other file without suffix": ["c"]}
