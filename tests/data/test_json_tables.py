"""Tables of JSON: lines, lists, columns, and Karpathy's form."""

import json

import pytest

from dalle_jax.data.table_rows import OtherForm
from tests.data.tables import GOOD, bad, good, rows


@pytest.mark.parametrize(
    "text",
    [
        '{"file_name": "a.png", "caption": "red"}\n\n{"file_name": "b.png", "text": "blue"}',
        '{"file_name": "a.png", "caption": "red"}\r\n{"file_name": "b.png", "text": "blue"}\r\n',
        '[{"file_name": "a.png", "caption": "red"},\n {"file_name": "b.png", "text": "blue"}]',
        '{"image": {"path": "a.png"}, "text": ["red"]}\n{"image": "b.png", "captions": ["blue"]}',
        '{"file_name": "a.png", "caption": null, "text": "red"}\n{"path": "b.png", "text": "blue"}',
        '{"file_name": "a.png", "caption": NaN, "text": "red"}\n{"file": "b.png", "text": "blue"}',
    ],
)
@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.json"])
def test_json_lines(text, name):
    assert good(rows(text, name)) == GOOD


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"file_name": "x.png", "capt', "unreadable row: no JSON object"),
        ('["x.png", "red"]', "unreadable row: no JSON object"),
        ("null", "unreadable row: no JSON object"),
        ("[" * 100_000, "unreadable row: no JSON object"),
        ("1" * 9999, "unreadable row: no JSON object"),
        ('{"caption": "red"}', "row without file name"),
        ('{"file_name": 5, "caption": "red"}', "row without file name"),
        ('{"file_name": "", "caption": "red"}', "row without file name"),
        ('{"file_name": null, "caption": "red"}', "row without file name"),
        ('{"file_name": ["x.png", "y.png"], "caption": "red"}', "row without file name"),
        ('{"file_name": "x.png", "caption": 5}', "unreadable caption"),
        ('{"file_name": "x.png", "caption": {"en": "red"}}', "unreadable caption"),
        ('{"file_name": "x.png", "captions": ["red", 5]}', "unreadable caption"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_bad_line_of_json_is_one_bad_row(line, problem, first):
    lines = [json.dumps({"file_name": file, "caption": texts[0]}) for file, texts in GOOD]
    lines.insert(0 if first else 1, line)
    read = rows("\n".join(lines), "metadata.jsonl")
    assert good(read) == GOOD and bad(read) == {1 if first else 2: problem}


def test_lines_of_json_without_names_or_captions_are_one_sentence():
    lines = '{"img": "a.png", "prompt": "red"}\n{"img": "b.png", "prompt": "blue"}\n'
    with pytest.raises(ValueError, match=r"\(JSON\) has the columns img, prompt; it needs one of"):
        rows(lines, "metadata.jsonl")


NAMES = {"0": "a.png", "1": "b.png"}


@pytest.mark.parametrize(
    "document",
    [
        [{"file_name": "a.png", "caption": "red"}, {"file_name": "b.png", "text": "blue"}],
        {"a.png": "red", "b.png": ["blue"]},
        {"a.png": {"caption": "red"}, "b.png": {"tags": "x", "text": "blue"}},
        {"file_name": ["a.png", "b.png"], "caption": ["red", "blue"]},
        {"file_name": NAMES, "text": {"0": "red", "1": "blue"}},
        {"file_name": NAMES, "text": {"1": "blue", "0": "red"}},
        {"file_name": NAMES, "text": ["red", "blue"]},
    ],
)
def test_json_in_the_forms_of_common_tools(document):
    assert good(rows(json.dumps(document), "metadata.json")) == GOOD
    assert good(rows(json.dumps(document, indent=2), "metadata.json")) == GOOD


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"name": "cards", "version": 1},
        5,
        "a.png",
        [1, 2],
        {"file_name": ["a.png"], "caption": []},
        [["a.png", "red"]],
        {"images": [], "annotations": []},
        {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []},
        {"file_name": NAMES, "caption": {"0": "red", "2": "blue"}},  # of other rows
        {"file_name": NAMES, "caption": ["red"]},
        {"file_name": NAMES, "caption": {"0": "red"}},
    ],
)
def test_json_of_another_form_is_no_table(document):
    with pytest.raises(OtherForm):
        rows(json.dumps(document), "metadata.json")


@pytest.mark.parametrize("text", ["{", "", "a,b", "[" * 100_000])
def test_a_file_that_is_not_json_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"is not JSON|JSON of too many levels"):
        rows(text, "metadata.json")


def test_karpathys_splits():
    splits = ("train", "restval", "val", "test")
    sentences = [{"raw": "no. 1", "tokens": ["no", "1"]}, {"raw": "a card"}]
    images = [
        {"filepath": "val2014", "filename": f"{i}.jpg", "split": split, "sentences": sentences}
        for i, split in enumerate(splits)
    ]
    del images[3]["filepath"]
    images += [{"filename": "x.jpg"}, {"filename": "y.jpg", "split": "?", "sentences": []}, 5]
    read = rows(json.dumps({"dataset": "coco", "images": images}), "dataset_coco.json")
    names = ("val2014/0.jpg", "val2014/1.jpg", "val2014/2.jpg", "3.jpg")
    assert good(read) == [(name, ("no. 1", "a card")) for name in names]
    assert [row.split for row in read[:4]] == ["train", "train", "validation", "test"]
    assert bad(read) == {n: "unreadable row: not of Karpathy's form" for n in (5, 6, 7)}


@pytest.mark.parametrize(
    "half", ['"text": "red", "file_name": "b.png"', '"text": "re", "n": "b.png"']
)
def test_a_record_with_a_field_twice_is_a_bad_row(half):
    broken = f'{{"file_name": "a.png", {half}, "text": "blue"}}'
    sound = '{"file_name": "b.png", "text": "blue"}'
    for content, name in ((f"{broken}\n{sound}", "x.jsonl"), (f"[{broken}, {sound}]", "x.json")):
        read = rows(content, name)
        assert good(read) == GOOD[1:] and [*bad(read)] == [1]
