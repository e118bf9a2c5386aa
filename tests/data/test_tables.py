"""Tables of any form: encodings, columns by name, Parquet, and any bytes."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.encoded import parquet
from tests.data.tables import GOOD, bad, good, rows


def one_row(name, caption):
    """A table of a file of that name, of one image."""
    record = json.dumps({"file_name": "a.png", "caption": caption}, ensure_ascii=False)
    if name.endswith("csv"):
        return f"file_name,caption\na.png,{caption}\n"
    return f"[{record}]" if name.endswith("json") else record


@pytest.mark.parametrize(
    ("caption", "encoding", "stated"),
    [
        *(("rosé", e, "") for e in ("utf-8", "utf-8-sig", "utf-16", "utf-32")),
        *(("rosé", e, e) for e in ("cp1252", "utf-16-le", "utf-16-be")),
        ("赤い四角", "shift_jis", "shift_jis"),
        ("红色", "gb18030", "gb18030"),
    ],
)
@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl", "metadata.json"])
def test_a_byte_order_mark_or_an_option_says_the_encoding(name, caption, encoding, stated):
    options = {"encoding": stated} if stated else {}
    read = rows(one_row(name, caption).encode(encoding), name, **options)
    assert good(read) == [("a.png", (caption,))]


def test_a_byte_that_the_stated_encoding_lacks_costs_its_row():
    read = rows(b"file_name,caption\na.png,red\nb.png,\x81\n", encoding="cp1252")
    assert good(read) == GOOD[:1] and bad(read) == {3: "unreadable caption: not cp1252"}


def test_bytes_that_are_not_utf8_cost_their_rows():
    read = rows(b"file_name,caption\na.png,red\nb.png,ros\xe9\nc.png,\xed\xa0\x80\nd.png,x\n")
    assert good(read) == [("a.png", ("red",)), ("d.png", ("x",))]
    assert bad(read) == {
        3: "unreadable caption: not UTF-8 (cp1252? state encoding=cp1252)",
        4: "unreadable caption: not UTF-8",
    }
    assert [row.file for row in read if row.problem] == ["b.png", "c.png"]


def test_lines_of_json_that_are_not_utf8_cost_their_rows():
    lines = b'{"file_name": "a.png", "caption": "red"}\n{"file_name": "b.png", "text": "ros\xe9"}\n'
    read = rows(lines, "metadata.jsonl")
    assert good(read) == GOOD[:1]
    assert bad(read) == {2: "unreadable row: not UTF-8 (cp1252? state encoding=cp1252)"}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_columns_by_name(name):
    records = [{"img": "a.png", "caption": "x", "blip": "red", "alt text": "crimson"}]
    content = table(records, name)
    (row,) = rows(content, name, image_column="img", caption_column="blip,alt text")
    assert row.file == "a.png"
    assert [text for text, _ in row.captions] == ["red", "crimson"]
    assert [column.replace("_", " ") for _, column in row.captions] == ["blip", "alt text"]
    (row,) = rows(content, name, image_column="img")
    assert good([row]) == [("a.png", ("x",))]


def table(records, name):
    if name.endswith(".parquet"):
        return parquet(records)
    if name.endswith(".csv"):
        return "\n".join(",".join(row) for row in [records[0], *(r.values() for r in records)])
    return json.dumps(records) if name.endswith(".json") else "\n".join(map(json.dumps, records))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_a_column_that_was_named_and_is_not_there_is_an_error(name):
    content = table(
        [{"file_name": "a.png", "alt": "red"}, {"file_name": "b.png", "alt": "blue"}], name
    )
    assert good(rows(content, name, caption_column="alt")) == GOOD
    with pytest.raises(ValueError, match=r"has the columns .*; it needs .* each of alt, blib"):
        rows(content, name, caption_column="alt,blib")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(encoding):
    with pytest.raises(ValueError, match=f"not UTF-8 .{encoding}. state encoding={encoding}"):
        rows("file_name,caption\na.png,red\n".encode(encoding))


def test_a_torn_utf16_table_is_a_sentence():
    with pytest.raises(ValueError, match=r"captions\.csv can't be read: not UTF-16"):
        rows("file_name,caption\na.png,red\n".encode("utf-16")[:-1])


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_parquet(text):
    captions = pa.array(["red", None, "blue"], text)
    content = parquet(dict(more=[1, 2, 3], text=captions, file_name=["a.png", "x.png", "b.png"]))
    assert good(rows(content, "metadata.parquet")) == [GOOD[0], ("x.png", ()), GOOD[1]]


def test_parquet_of_lists_and_of_a_dictionary():
    captions = pa.array([["red", None, "crimson"], None, []])
    names = pa.array(["a.png", "b.png", None]).dictionary_encode()
    read = rows(parquet(dict(captions=captions, file_name=names)), "metadata.parquet")
    assert good(read) == [("a.png", ("red", "crimson")), ("b.png", ())]
    assert bad(read) == {3: "row without file name"}


def test_text_in_parquet_that_is_not_utf8_costs_its_row():
    raw = pa.array([b"red", b"ros\xe9", b"blue"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    read = rows(parquet(dict(file_name=["a.png", "x.png", "b.png"], caption=text)), "m.parquet")
    assert good(read) == GOOD and bad(read) == {2: "unreadable caption: not UTF-8"}


THEMSELVES = "images themselves.*give it as parquet:"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read as Parquet"),
        (b"PAR1" * 9, "can't be read as Parquet"),
        (
            parquet({"a": ["a.png"], "b": ["r"]}),
            r"\(Parquet\) has the columns a, b; it needs one of",
        ),
        (parquet({"image": [b"\x89PNG"], "text": ["red"]}), THEMSELVES),
        (parquet({"image": [{"bytes": b"x", "path": "a"}], "text": ["red"]}), THEMSELVES),
    ],
)
def test_another_parquet_file_is_a_sentence(content, says):
    with pytest.raises(ValueError, match=says):
        rows(content, "metadata.parquet")


STARTS = [b"file_name,caption\n", b"file_name\ttext\n", b'{"file_name": "a.png"', b"[", b""]
PARTS = [b",", b"\n", b'"', b"\r", b"\t", b"a.png", b"\xff\xfe", b"\0", b"{", b"}"]


@settings(max_examples=150)
@given(
    st.sampled_from(
        ["captions.csv", "captions.tsv", "metadata.jsonl", "metadata.json", "m.parquet"]
    ),
    st.sampled_from(STARTS),
    st.lists(st.binary(max_size=12) | st.sampled_from(PARTS), max_size=12),
)
def test_any_bytes_are_rows_or_one_sentence(name, start, parts):
    try:
        read = rows(start + b"".join(parts), name)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        for row in read:
            assert row.problem or row.file.strip()
            assert all(text.strip() == text != "" for text, _ in row.captions)


def test_a_damaged_page_of_a_parquet_table_is_found_by_its_check_sum():
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    columns = {"file_name": ["a.png", "b.png"], "text": ["red", "blue"]}
    content = parquet(columns, **options)
    assert good(rows(content, "metadata.parquet")) == GOOD
    # Only the first page of values has the text between two lengths.
    damaged = content.replace(b"a.png\5\0\0\0b.png", b"b.png\5\0\0\0a.png")
    assert damaged != content
    with pytest.raises(ValueError, match=r"can't be read as Parquet: .*CRC"):
        rows(damaged, "metadata.parquet")
