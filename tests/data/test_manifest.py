import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.manifest import (
    MAX_CAPTION,
    Header,
    Manifest,
    Row,
    choose,
    read_manifest,
    write_manifest,
)

CANDIDATES = [
    (f"test/{i}", i, [("0", f"a picture of {i}"), ("1", f" Bild {i} 红 ")]) for i in range(20)
]


def make(**settings):
    defaults = {"source": "numbers", "split": "test", "rule": "one", "n": None, "seed": 0}
    return choose(CANDIDATES, **{**defaults, **settings})


def canonical(record):
    left_out = ("hash", "sha256", "manifest")
    content = {key: value for key, value in record.items() if key not in left_out}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def forge(path, header, rows):
    """A file whose hashes are right, whatever it says."""
    header = {"manifest": 1, **header, "count": header.get("count", len(rows))}
    digest, lines = hashlib.sha256(), []
    for record in (header, *rows):
        digest.update(canonical(record))
        lines.append({**record, "hash": digest.hexdigest()[:16]})
    lines[0]["sha256"] = digest.hexdigest()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


HEADER = {"rule": "one", "source": "x", "data": {}, "split": "test", "seed": 0, "of": 9}
ROW = {"id": "a", "caption": "a cat", "image": "a.png", "split": "test"}


def test_one_row_an_image_or_one_a_caption():
    one, every = make(), make(rule="all")
    assert sorted(one.rows, key=lambda row: row.image) == [
        Row(f"test/{i}", f"a picture of {i}", i, "test") for i in range(20)
    ]
    assert len(every) == 40 and every.header.of == 40
    assert Row("test/7#1", "Bild 7 红", 7, "test") in every.rows


@pytest.mark.parametrize("rule", ["one", "all"])
def test_a_draw_is_the_smallest_hashes_and_the_beginning_of_a_larger_one(rule):
    whole = make(rule=rule, seed=3)
    ids = [row.id for row in whole.rows]
    assert ids == sorted(ids, key=lambda i: hashlib.sha256(f"3/{i}".encode()).hexdigest())
    part = make(rule=rule, seed=3, n=7)
    assert part.rows == whole.rows[:7] and (part.header.count, part.header.of) == (7, len(whole))
    assert make(rule=rule, seed=4, n=7).rows != part.rows
    assert part.sha256 != whole.sha256


def test_the_draw_does_not_depend_on_the_order_of_the_data():
    backwards = choose(CANDIDATES[::-1], source="numbers", split="test", rule="one", n=5, seed=0)
    assert backwards.sha256 == make(n=5).sha256


def test_what_is_written_is_read_and_has_the_hash_of_its_content(tmp_path):
    manifest = make(rule="all", n=11, seed=1, data={"image_size": 32, "captions": "short"})
    path = tmp_path / "deep/er/m.jsonl"
    write_manifest(path, manifest)
    read = read_manifest(path)
    assert read == manifest
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    content = b"".join(map(canonical, lines))
    assert read.sha256 == lines[0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert "红" in path.read_text(encoding="utf-8")


def test_spacing_escapes_and_line_ends_do_not_count(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, make(rule="all"))
    before = read_manifest(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_bytes(b"\r\n".join(json.dumps(line, indent=None).encode() for line in lines))
    assert read_manifest(path) == before


def test_a_manifest_is_not_overwritten_by_another(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, make(n=5))
    write_manifest(path, make(n=5))
    with pytest.raises(ValueError, match="holds another manifest"):
        write_manifest(path, make(n=6))
    assert len(read_manifest(path)) == 5


def edit(number, old, new):
    def apply(lines):
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new)

    return apply


CHANGES = {
    "caption": (edit(4, "a picture", "a photo"), "line 4: it was changed"),
    "image": (edit(4, '"image": ', '"image": 1'), "line 4: it was changed"),
    "seed": (edit(1, '"seed": 0', '"seed": 1'), "line 1: it was changed"),
    "removed": (lambda lines: lines.pop(4), "line 5: .*removed"),
    "repeated": (lambda lines: lines.insert(4, lines[3]), "line 5: "),
    "moved": (lambda lines: lines.insert(2, lines.pop(6)), "line 3: .*moved"),
    "cut": (lambda lines: lines.pop(), "line 1: the header states 9 rows and there are 8"),
    "whole hash": (edit(1, '"sha256": "', '"sha256": "0'), "line 1: its sha256"),
    "blank": (lambda lines: lines.insert(3, "\n"), "line 4: it is torn, or no JSON"),
    "other file": (lambda lines: lines.pop(0), "line 1: it must hold just the fields manifest"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_a_changed_line_is_found_and_named(tmp_path, change, message):
    path = tmp_path / "m.jsonl"
    write_manifest(path, make(n=9))
    lines = path.read_text().splitlines(keepends=True)
    change(lines)
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match=f"m.jsonl, {message}"):
        read_manifest(path)


def test_a_file_torn_anywhere_is_refused(tmp_path):
    path = tmp_path / "m.jsonl"
    write_manifest(path, make(n=2))
    whole = path.read_bytes()
    for end in range(len(whole) - 1):  # The last byte ends the last line, which is whole.
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"m.jsonl, line [123]: "):
            read_manifest(path)


HOSTILE = {
    "NUL": ({"caption": "a\0b"}, "caption 'a\\\\x00b' holds a NUL"),
    "lone surrogate": ({"caption": "a \ud800"}, "caption .* holds a lone surrogate"),
    "surrogate in a name": ({"image": "\udcff.png"}, "image .* holds a lone surrogate"),
    "megabyte": ({"caption": "x" * 2**20}, "it is longer than"),
    "long": ({"caption": "x" * (MAX_CAPTION + 1)}, "has 10001 characters, more than 10000"),
    "empty": ({"caption": " \t"}, "caption is empty"),
    "id twice": ({"id": "a"}, "its id 'a' is that of line 2 too"),
    "parent": ({"image": "../a.png"}, "leads out"),
    "parent inside": ({"image": "b/../../a.png"}, "leads out"),
    "root": ({"image": "/etc/passwd"}, "leads out"),
    "Windows parent": ({"image": "..\\a.png"}, "leads out"),
    "Windows root": ({"image": "C:\\a.png"}, "leads out"),
    "mixed": ({"image": 3}, "unlike line 2's"),
    "bool": ({"image": True}, "its image is True"),
    "type": ({"caption": 7}, "its caption is 7"),
    "field": ({"more": 1}, "must hold just the fields id, caption"),
}


@pytest.mark.parametrize(("fields", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_rows_get_a_sentence(tmp_path, fields, message):
    path = forge(tmp_path / "m.jsonl", HEADER, [ROW, {**ROW, "id": "b", **fields}])
    with pytest.raises(ValueError, match=f"line 3: .*{message}") as error:
        read_manifest(path)
    assert len(str(error.value)) < 500


def test_a_forged_file_without_a_fault_is_read(tmp_path):
    path = forge(tmp_path / "m.jsonl", HEADER, [ROW, {**ROW, "id": "b"}])
    assert read_manifest(path).captions == ["a cat", "a cat"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"manifest": 2}, "another format"),
        ({"rule": "some"}, "no rule 'some'; there are one, all"),
        ({"count": 3}, "states 3 rows and there are 1"),
        ({"seed": "0"}, "its seed is '0'"),
        ({"source": "\ud800"}, "source .* lone surrogate"),
        ({"data": {"x": float("inf")}}, "torn, or no JSON"),
    ],
)
def test_hostile_headers_get_a_sentence(tmp_path, fields, message):
    path = forge(tmp_path / "m.jsonl", {**HEADER, **fields}, [ROW])
    with pytest.raises(ValueError, match=f"line 1: .*{message}"):
        read_manifest(path)


def test_nesting_without_end_and_repeated_fields_are_torn_lines(tmp_path):
    path = tmp_path / "m.jsonl"
    for line in ("[" * 100_000, '{"id": "a", "id": "b"}', '{"manifest": 1e999}', "\ufeff{}"):
        path.write_text(line + "\n")
        with pytest.raises(ValueError, match="line 1: it is torn, or no JSON object"):
            read_manifest(path)


def test_mistakes_in_making_give_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no caption manifest"):
        read_manifest(tmp_path)
    for options, message in (
        ({"n": 21}, r"numbers test has 20 captions .* n is 21"),
        ({"n": 0}, "n is 0"),
        ({"rule": "best"}, "no rule 'best'"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)
    with pytest.raises(ValueError, match="the header states 1 rows and there are 0"):
        Manifest(Header("one", "x", {}, "test", 0, 1, 1), ())
    with pytest.raises(ValueError, match="x 'a': its caption is empty; mend the data"):
        choose([("a", 0, [("0", " ")])], source="x", split="s", rule="one", n=None, seed=0)


def read_or_refuse(path):
    """The manifest, or None where a sentence about a line of the file is given."""
    try:
        return read_manifest(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}, line ") and len(str(error)) < 600
        return None


@settings(max_examples=100)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused_in_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.jsonl"
    path.write_bytes(content)
    assert read_or_refuse(path) is None


@settings(max_examples=100)
@given(data=st.data())
def test_any_change_of_a_byte_is_refused_or_changes_nothing(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    path.unlink(missing_ok=True)
    manifest = make(n=3, rule="all")
    write_manifest(path, manifest)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    assert read_or_refuse(path) in (None, manifest)


texts = st.text(st.characters(exclude_categories=()), max_size=20)  # surrogates too
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100)
@given(
    header=st.fixed_dictionaries({}, optional={key: values for key in HEADER}),
    row=st.fixed_dictionaries({}, optional={key: values for key in ROW}),
)
def test_any_values_with_right_hashes_are_refused_or_come_back(tmp_path_factory, header, row):
    path = tmp_path_factory.getbasetemp() / "values.jsonl"
    forge(path, {**HEADER, **header}, [{**ROW, **row}])
    manifest = read_or_refuse(path)
    if manifest is not None:
        again = path.with_name("again.jsonl")
        again.unlink(missing_ok=True)
        write_manifest(again, manifest)
        assert read_manifest(again) == manifest
        assert vars(manifest.rows[0]) == {**ROW, **row}
