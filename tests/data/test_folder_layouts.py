"""Where a folder's captions lie: in tables, beside the images, in Karpathy's file."""

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.open import open_source
from tests.data.encoded import parquet
from tests.data.pictures import SHARES, captions, numbers, read, write

IMAGES = {f"{i}.png": i for i in range(3)}
RECORDS = [{"file_name": f"{i}.png", "text": f"no. {i}"} for i in range(3)]
EXPECTED = {f"{i}.png": (f"no. {i}",) for i in range(3)}
ENDS = ("jsonl", "json", "csv", "tsv", "parquet")


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


@pytest.mark.parametrize(
    "table",
    [
        *(f"{name}.{end}" for name in ("metadata", "captions") for end in ENDS),
        *("Metadata.CSV", "METADATA.jsonl"),
    ],
)
@pytest.mark.parametrize("folder", ["", "images/", "train/deep/"])
def test_a_table_names_files_relative_to_its_own_folder(tmp_path, table, folder):
    write(tmp_path, {folder + name: number for name, number in IMAGES.items()})
    write(tmp_path, {folder + table: as_table(table)})
    assert captions(tmp_path) == {folder + name: texts for name, texts in EXPECTED.items()}
    assert not read(tmp_path).report.skipped


def test_tables_of_several_folders_are_joined(tmp_path):
    write(tmp_path, {"x/0.png": 0, "x/1.png": 1, "x/metadata.jsonl": RECORDS[:2]})
    write(tmp_path, {"y/0.png": 2, "y/captions.csv": "file_name,text\n0.png,y\n"})
    write(tmp_path, {"captions.jsonl": [{"file_name": "y/0.png", "text": "root"}]})
    expected = {"x/0.png": ("no. 0",), "x/1.png": ("no. 1",), "y/0.png": ("root", "y")}
    assert captions(tmp_path) == expected


def test_two_tables_in_a_folder_are_an_error_that_names_both(tmp_path):
    write(tmp_path, {f"sub/{name}": i for name, i in IMAGES.items()})
    write(tmp_path, {"sub/captions.csv": as_table("captions.csv"), "sub/metadata.json": "[]"})
    assert len(captions(tmp_path)) == 3  # JSON of another form is no table.
    write(tmp_path, {"sub/metadata.json": as_table("metadata.json")})
    with pytest.raises(ValueError, match=r"/sub holds both captions.csv and metadata.json; keep"):
        read(tmp_path)
    assert len(captions(tmp_path / "sub" / "metadata.json")) == 3


@pytest.mark.parametrize("other", [{"name": "cards"}, [], [[1]], 5])
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
        ({"a.png.txt": "x"}, ("x",)),
        ({"a.png.caption": "x", "a.jpg": 3, "a.jpg.caption": "y"}, ("x",)),
        ({"a.png.json": {"caption": "x"}, "a.jpg": 3, "a.jpg.txt": "y"}, ("x",)),
    ],
)
def test_captions_beside_an_image(tmp_path, files, expected):
    write(tmp_path, {"a.png": 1, "b.png": 2, "b.txt": "blue", **files})
    found = captions(tmp_path)
    assert found["a.png"] == expected and found.get("a.jpg", ("y",)) == ("y",)
    assert not read(tmp_path).report.skipped


NO_OBJECT = "unreadable caption: no JSON object with a caption"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "image without caption"),
        ({"a.txt": ""}, "empty caption"),
        ({"a.txt": " \n\u200b\n"}, "empty caption"),
        ({"a.json": {"tags": "x"}}, "image without caption"),
        ({"a.json": "[1]"}, NO_OBJECT),
        ({"a.json": '{"caption": 5}'}, NO_OBJECT),
        ({"a.json": "[" * 100_000}, NO_OBJECT),
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


def test_what_is_wrong_in_a_table_is_named_in_the_report(tmp_path):
    rows = [{"file_name": f"{name}.png", "text": name} for name in ("good", "torn", "missing")]
    rows += [{"file_name": "blank.png", "text": " "}, {"file_name": "number.png", "text": 5}]
    table = "\n".join([*map(json.dumps, rows), '{"file_', '["x"]', "{}"])
    write(tmp_path, {"metadata.jsonl": table, "good.png": 1, "torn.png": b"torn"})
    write(tmp_path, {"blank.png": 3, "single.png": 4, "number.png": 5})
    with pytest.raises(ValueError, match=r"1 of 9 .*max_bad_share = 0.01"):
        read(tmp_path, max_bad_share=0.01)
    assert captions(tmp_path) == {"good.png": ("good",)}
    assert json.loads((tmp_path / "data_report.json").read_text())["skipped"] == {
        "unreadable image": ["torn.png"],
        "empty caption": ["blank.png"],
        "image without caption": ["single.png"],
        "no image": ["missing.png"],
        "unreadable caption": ["metadata.jsonl:5"],  # whose image is not counted once more
        "unreadable row: no JSON object": ["metadata.jsonl:6", "metadata.jsonl:7"],
        "row without file name": ["metadata.jsonl:8"],
    }


def test_a_stated_encoding_is_that_of_the_files_beside(tmp_path):
    write(tmp_path, {"a.png": 1, "a.txt": "rosé".encode("cp1252"), "b.png": 2, "b.txt": "blue"})
    assert captions(tmp_path, encoding="cp1252") == {"a.png": ("rosé",), "b.png": ("blue",)}


@pytest.mark.parametrize("suffix", ["heic", "jxl", "svg", "cr2", "NEF"])
def test_an_image_of_a_format_that_is_not_read_is_bad(tmp_path, suffix):
    write(tmp_path, {f"a.{suffix}": b"x", "a.txt": "red", "b.png": 1, "b.txt": "blue"})
    assert captions(tmp_path) == {"b.png": ("blue",)}
    reason = f"image of a format that is not read (.{suffix.lower()})"
    assert read(tmp_path).report.skipped == {reason: [f"a.{suffix}"]}


def test_all_that_is_left_out_is_named_by_reason(tmp_path):
    others = ("README.md", "LICENSE", "README.txt", "Thumbs.db", "__MACOSX/._a.png", ".DS_Store")
    write(tmp_path, {"a.png": 1, "a.txt": "red", **dict.fromkeys(others, "x"), "x.json": {}})
    write(tmp_path, {".ipynb_checkpoints/a-checkpoint.png": 2, "a.caption": "y", "a.TXT": "z"})
    write(tmp_path, {"a.png.json": {"caption": "y"}, "a.heic": b"x"})
    os.symlink("nothing.png", tmp_path / "broken.png")
    os.symlink(".", tmp_path / "again")
    report = read(tmp_path).report
    (original,) = [reason for reason, names in report.left_out.items() if names == ["a.heic"]]
    assert report.left_out == {
        "hidden": [".DS_Store", ".ipynb_checkpoints/"],
        "system file": ["Thumbs.db", "__MACOSX/"],
        "broken link": ["broken.png"],
        "link in a circle": ["again/"],
        "other file (.md)": ["README.md"],
        "other file (.json)": ["a.png.json", "x.json"],
        "other file without suffix": ["LICENSE"],
        "caption file without image": ["README.txt"],
        "second caption file of a name": ["a.TXT", "a.caption"],
        original: ["a.heic"],
    }
    assert captions(tmp_path) == {"a.png": ("red",)} and not report.skipped
    assert "1 left out: broken link (broken.png)" in str(report)


def test_what_a_table_names_is_not_left_out(tmp_path):
    write(tmp_path, {"a.bin": 1, "b": 2, "c": 3, "captions.csv": "file,text\na.bin,x\nb,y\n"})
    assert captions(tmp_path) == {"a.bin": ("x",), "b": ("y",)}
    assert read(tmp_path).report.left_out == {"other file without suffix": ["c"]}


@pytest.mark.filterwarnings("ignore:folder")
@pytest.mark.parametrize("end", ENDS)
def test_a_table_names_part_of_a_folder_on_purpose(tmp_path, end):
    table = tmp_path / f"part.{end}"
    write(tmp_path, {table.name: as_table(table.name, "sub/"), "sub/0.txt": "not this"})
    write(tmp_path, {f"sub/{i}.png": i for i in range(5)})
    write(tmp_path, {"metadata.jsonl": [{"file_name": "sub/4.png", "text": "nor this"}]})
    expected = {f"sub/{name}": texts for name, texts in EXPECTED.items()}
    assert captions(table, max_bad_share=0.0) == expected
    report = read(table).report
    assert report.left_out == {"image that the table does not name": ["sub/3.png", "sub/4.png"]}
    assert len(open_source(f"folder:{table}", data_dir="", split="all", image_size=8)) == 3


def test_the_split_of_an_image_is_that_of_the_folder_whichever_table_names_it(tmp_path):
    rows = [{"file_name": f"{i}.png", "text": "x"} for i in range(40)]
    write(tmp_path, {f"{i}.png": i for i in range(40)})
    write(tmp_path, {"metadata.jsonl": rows, "part.jsonl": rows[::2]})
    for split in ("train", "validation", "test"):
        whole, part = (numbers(p, split, **SHARES) for p in (tmp_path, tmp_path / "part.jsonl"))
        assert part == {number: text for number, text in whole.items() if number % 2 == 0}


@pytest.mark.parametrize(
    ("files", "path", "error", "says"),
    [
        ({}, "none", FileNotFoundError, "there is no folder .*none"),
        ({}, "none.csv", FileNotFoundError, "there is no folder .*none.csv"),
        ({"a.png": 1}, "a.png", ValueError, "is a file, but no table of captions, .* in .jsonl"),
        ({"notes.md": "x"}, "", ValueError, "holds no items"),
        ({"0.tar": "x"}, "", ValueError, "holds no items.*0.tar.*as webdataset:PATH"),
        ({"a.parquet": "x"}, "", ValueError, "holds no items.*a.parquet.*as parquet:PATH"),
    ],
)
def test_a_place_without_data_is_a_sentence(tmp_path, files, path, error, says):
    with pytest.raises(error, match=says):
        read(write(tmp_path, files) / path)


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


def test_a_named_field_of_json_comes_before_a_text(tmp_path):
    write(tmp_path, {"a.png": 1, "a.txt": "old", "a.json": {"alt": "new"}})
    write(tmp_path, {"b.png": 2, "b.txt": "b"})
    assert captions(tmp_path) == {"a.png": ("old",), "b.png": ("b",)}
    assert captions(tmp_path, caption_column="alt") == {"a.png": ("new",), "b.png": ("b",)}
    ((note, names),) = read(tmp_path, caption_column="alt").report.noted.items()
    assert "caption_column" in note and names == ["b.png"] and not read(tmp_path).report.noted


def test_a_field_that_no_json_beside_an_image_has_is_refused(tmp_path):
    records = {"a.json": {"alt": "x", "blip": "y"}, "b.json": {"alt": "z"}}
    write(tmp_path, {"a.png": 1, "b.png": 2, **records})
    assert captions(tmp_path, caption_column="alt,blip") == {"a.png": ("x", "y"), "b.png": ("z",)}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"=blipp names no field of the JSON .* alt, blip"):
            read(tmp_path, caption_column="alt,blipp")


def karpathy(folder, splits):
    """Karpathy's file of images 0.png, 1.png, … of some splits."""
    where = {"filepath": folder} if folder else {}
    return {
        "dataset": "coco",
        "images": [
            {**where, "filename": f"{i}.png", "split": split, "sentences": [{"raw": split}]}
            for i, split in enumerate(splits)
        ],
    }


@pytest.mark.parametrize("place", ["", "annotations/"])
def test_karpathys_splits_lie_beside_or_above_the_images(tmp_path, place):
    splits = ("train", "restval", "val", "test")
    write(tmp_path, {f"val2014/{i}.png": i for i in range(4)})
    write(tmp_path, {f"{place}dataset_coco.json": karpathy("val2014", splits)})
    found = {s: [*numbers(tmp_path, s, **SHARES)] for s in ("train", "validation", "test")}
    assert found == {"train": [0, 1], "validation": [2], "test": [3]}
    assert not read(tmp_path).report.skipped
    assert "own train and validation and test" in str(read(tmp_path).report)


def test_karpathys_file_of_flickr_names_no_folder(tmp_path):
    write(tmp_path, {"images/0.png": 1, "images/1.png": 2, "copy/1.png": 2})
    write(tmp_path, {"dataset_flickr8k.json": karpathy("", ("train", "test", "val"))})
    assert captions(tmp_path) == {"images/0.png": ("train",)}
    skipped = read(tmp_path).report.skipped
    assert skipped["ambiguous name"] == ["1.png"] and skipped["no image"] == ["2.png"]
    assert len(captions(tmp_path / "dataset_flickr8k.json")) == 1


MARKS = '",\n\r;\t \u2028'


def damage(text, data):
    """The text with three marks put in between words, or some that follow each other taken out."""

    def edge():
        inner = (i for i in range(1, len(text)) if text[i] in MARKS or text[i - 1] in MARKS)
        return data.draw(st.sampled_from([0, *inner]))

    if data.draw(st.booleans()):
        where = edge()
        return text[:where] + text[where:].lstrip(MARKS)
    for _ in range(data.draw(st.integers(1, 3))):
        where = edge()
        text = text[:where] + data.draw(st.sampled_from(MARKS)) + text[where:]
    return text


CAPTION = st.sampled_from(["it shows {0}", '{0}, "torn", it', "{0}\n{0}", "{0}"])


@settings(max_examples=60)
@given(
    table=st.lists(st.tuples(st.integers(0, 5), CAPTION), max_size=8),
    name=st.sampled_from(["captions.csv", "captions.tsv"]),
    data=st.data(),
)
def test_no_image_of_a_damaged_table_gets_the_caption_of_another(
    tmp_path_factory, table, name, data
):
    root = tmp_path_factory.getbasetemp() / f"damaged{name[-3:]}"
    words = [f"x{i}x" for i in range(6)]
    write(root, {f"{word}.png": i for i, word in enumerate(words)})
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter="," if name.endswith("csv") else "\t")
    writer.writerow(["file_name", "caption"])
    writer.writerows((f"{words[i]}.png", caption.format(words[i])) for i, caption in table)
    write(root, {name: damage(file.getvalue(), data)})
    try:
        found = numbers(root)
    except ValueError as error:
        assert len(str(error)) < 1500
        return
    for number, texts in found.items():
        named = {word for word in words for text in texts if word in text}
        assert named <= {words[number]}, (number, texts)
