import csv
import io
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.table_rows import OtherForm
from dalle_jax.data.tables import read_table
from dalle_jax.data.text import clean_captions
from tests.data.encoded import parquet

SPREADSHEET = (("a.png", "red"), ("b.png", "blue"))
GOOD = [("a.png", ("red",)), ("b.png", ("blue",))]


def rows(content, name="captions.csv", **columns):
    content = content if isinstance(content, bytes) else content.encode()
    return list(read_table(io.BytesIO(content), name, ReadingOptions(**columns)))


def good(read):
    return [(r.file, tuple(text for text, _ in r.captions)) for r in read if r.problem is None]


def bad(read):
    return {r.number: r.problem for r in read if r.problem is not None}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "end"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["captions.csv", "captions.tsv"])
def test_the_separator_and_the_line_ends_are_found(name, separator, end, last):
    lines = [f"file_name{separator}caption", f"a.png{separator}red", f"b.png{separator}blue"]
    text = end.join(lines) + (end if last else "")
    assert good(rows(text, name)) == GOOD


@pytest.mark.parametrize(
    "header",
    [
        "file_name,caption",
        "file_name, caption",
        " file_name ,caption ",
        '"file_name","caption"',
        "File Name,Caption",
        "FILE_NAME,TEXT",
        "file-name,text",
        "filename,captions",
        "image,text",
        "path,caption",
        "\ufefffile_name,caption",
        "\n\nfile_name,caption",
        "sep=,\nfile_name,caption",
        "SEP=,\r\nfile_name,caption",
    ],
)
def test_the_columns_are_found_by_their_usual_names(header):
    assert good(rows(f"{header}\na.png,red\nb.png,blue\n")) == GOOD


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl", "metadata.json"])
def test_a_byte_order_mark_says_the_encoding(name, encoding):
    text = "file_name,caption\na.png,rosé\n"
    if name != "captions.csv":
        text = '{"file_name": "a.png", "caption": "rosé"}'
        text = f"[{text}]" if name == "metadata.json" else text
    assert good(rows(text.encode(encoding), name)) == [("a.png", ("rosé",))]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "shift_jis", "gb18030"])
@pytest.mark.parametrize("name", ["captions.csv", "metadata.jsonl", "metadata.json"])
def test_a_stated_encoding_is_used(name, encoding):
    caption = {"shift_jis": "赤い四角", "gb18030": "红色"}.get(encoding, "rosé")
    text = f"file_name,caption\na.png,{caption}\n"
    if name != "captions.csv":
        text = json.dumps({"file_name": "a.png", "caption": caption}, ensure_ascii=False)
        text = f"[{text}]" if name == "metadata.json" else text
    read = rows(text.encode(encoding), name, encoding=encoding)
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


TOO_MANY = "row with more fields than columns (quote captions that hold the separator)"
TOO_FEW = "row with fewer fields than columns"
QUOTE = "row with a stray or unclosed quote"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x.png,red,torn", TOO_MANY),
        ('x.png,"red",torn', TOO_MANY),
        ("x.png", TOO_FEW),
        ('"x.png"', TOO_FEW),
        ("x.png;red", TOO_FEW),
        ('x.png,"red', QUOTE),
        ('x.png,"red" card', QUOTE),
        ('"x.png,red', QUOTE),
        ('x.png,"a ""red card', QUOTE),
        (",red", "row without file name"),
        (" ,red", "row without file name"),
        ('"",red', "row without file name"),
    ],
)
def test_a_bad_row_is_one_bad_row(line, problem):
    read = rows(f"file_name,caption\na.png,red\n{line}\nb.png,blue\n")
    assert good(read) == GOOD and bad(read) == {3: problem}


@pytest.mark.parametrize(
    ("line", "captions"),
    [
        ("x.png,red,,", ("red",)),
        ('x.png,"red, torn"', ("red, torn",)),
        ('x.png, "red, torn"', ("red, torn",)),
        ('x.png,"a ""red"" card"', ('a "red" card',)),
        ('x.png,a "red" card', ('a "red" card',)),
        ('x.png,"two\nlines"', ("two\nlines",)),
        ('x.png,"two\n\nlines, as in a.b"', ("two\n\nlines, as in a.b",)),
        ("x.png,red\u2028card", ("red\u2028card",)),
        ("x.png,red\x85card\x0b!", ("red\x85card\x0b!",)),
        ("x.png,\u200b", ()),
        ("x.png, ", ()),
        ("x.png,5' tall", ("5' tall",)),
    ],
)
def test_a_row_is_read_as_it_is_meant(line, captions):
    read = rows(f"file_name,caption\na.png,red\n{line}\nb.png,blue\n")
    assert good(read) == [GOOD[0], ("x.png", captions), GOOD[1]]


@pytest.mark.parametrize("suffix", ["", ',"more"'])
@pytest.mark.parametrize("number", range(1, 6))
def test_an_unclosed_quote_takes_no_other_rows_caption(number, suffix):
    columns = "file_name,caption" + (",more" if suffix else "")
    lines = [f'{i}.png,"caption {i}"{suffix}' for i in range(1, 6)]
    lines[number - 1] = f'{number}.png,"caption {number}'
    read = rows("\n".join([columns, *lines]) + "\n")
    assert [file for file, _ in good(read)] == [f"{i}.png" for i in range(1, 6) if i != number]
    assert all(texts == (f"caption {file[0]}",) for file, texts in good(read))
    assert bad(read) == {number + 1: QUOTE}


@pytest.mark.parametrize(
    ("lines", "captions", "in_doubt"),
    [  # Rows 2 and on; the rows in doubt may be lines of the first one's caption.
        (['a.png,"see', 'b.png, good"', "b.png,blue"], ["blue"], [2, 3]),
        (['a.png,"see', "b.png, so", 'c.png, good"', "b.png,blue"], ["blue"], [2, 3, 4]),
        (['a.png,"see', 'b.png, good",', "b.png,blue"], ["blue"], [2, 3]),
        (['a.png,"red', "b.png,blue", 'c.png,"green"'], ["blue", "green"], [2]),
        (['a.png,"red', "b.png,blue", 'c.png, "green"'], ["blue", ' "green"'], [2]),
        (['a.png,"red', "b.png,blue", 'c.png,a 5" card'], ["blue", 'a 5" card'], [2]),
        (['a.png,"red" card', "b.png,blue", 'c.png,5"'], ["blue", '5"'], [2]),
    ],
)
def test_a_line_of_a_caption_is_no_other_images_caption(lines, captions, in_doubt):
    read = rows("file_name,caption\n" + "\n".join(lines) + "\n")
    assert [text for _, texts in good(read) for text in texts] == [c.strip() for c in captions]
    assert bad(read) == dict.fromkeys(in_doubt, QUOTE)


@pytest.mark.parametrize(
    ("caption", "in_doubt"),
    [  # Of a.png in a table of tabs. Row b.png below is sound, and so is what stands before.
        ("see\nb.png\tgood", 2),
        ("see\n\nb.png\tgood", 3),
        ("see\nb.png\tgood\nc.png\tso", 3),
        ("see\nb.png\tgood\nso", 3),
        ('see "this"\nb.png\tgood', 2),
        ('see\nb.png\t"good"', 2),
        ('"see"\nb.png\tgood "so"', 2),
        ("see\tthis\nb.png\tgood", 2),
        ("\nb.png\tgood", 2),
        ('""\nb.png\t""good\n""', 3),
    ],
)
@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_a_line_of_a_caption_between_tabs_is_no_other_images_caption(caption, in_doubt, quoting):
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=quoting)
    writer.writerows([("file_name", "caption"), ("c.png", "blue"), ("a.png", caption)])
    writer.writerow(("b.png", "red"))
    read = rows(text.getvalue(), "captions.tsv")
    assert good(read) == [("c.png", ("blue",)), ("b.png", ("red",))]
    assert bad(read) == {3 + i: QUOTE for i in range(in_doubt)}


@pytest.mark.parametrize("after", ["x", 'a 6" nail', 'two "words"', '"whole"', '"one" first', "'"])
def test_an_unquoted_caption_between_tabs_may_begin_with_a_quote(after):
    lines = ['a.png\t"blue', f"b.png\t{after}", "c.png\tred"]
    read = good(rows("file_name\tcaption\n" + "\n".join(lines) + "\n", "captions.tsv"))
    assert [file for file, _ in read] == ["a.png", "b.png", "c.png"]
    assert read[0][1] == ('"blue',) and read[2][1] == ("red",)


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ('"red,a.png\nsee\ngood",b.png\nblue,c.png\n', {"c.png": "blue"}),
        ('"red,a.png\ngreen and ""x"" so",b.png\nblue,c.png\n', {"c.png": "blue"}),
        ('"red,a.png\ngreen,b.png\n"blue",c.png\n', {"b.png": "green", "c.png": "blue"}),
        ('"red\nlight",a.png\n"blue",c.png\n', {"a.png": "red\nlight", "c.png": "blue"}),
    ],
)
def test_an_unclosed_caption_before_its_name_takes_in_no_other(text, captions):
    read = good(rows("caption,file_name\n" + text))
    assert {file: texts for file, texts in read} == {k: (v,) for k, v in captions.items()}


@pytest.mark.parametrize("separator", [",", "\t"])
def test_lines_behind_the_unclosed_quote_of_a_row_of_no_image_are_nobody_s(separator):
    lines = ("a.png|red", '|"green', "b.png|which a caption of green says", "its end")
    text = "file_name|caption\n" + "\n".join(lines)
    read = rows(text.replace("|", separator) + "\n", "c.csv")
    assert good(read) == [("a.png", ("red",))]
    assert set(bad(read)) == {3, 4, 5}


def test_an_unclosed_quote_costs_few_rows_at_most():
    lines = ['a.png,"red', *(f"{i}.png,blue" for i in range(50)), 'b.png,5"']
    assert len(good(rows("file_name,caption\n" + "\n".join(lines)))) == 51


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("cell", ["", " ", '""'])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_rows_of_empty_cells_are_no_rows(separator, cell, count):
    header, *full = (separator.join(row) for row in (("file_name", "caption"), *SPREADSHEET))
    empty = separator.join([cell] * count)
    read = rows("\n".join([header, full[0], empty, full[1], empty, empty]) + "\n")
    assert good(read) == GOOD and bad(read) == {}


def test_the_caption_may_come_first_and_go_over_lines():
    read = rows('caption,file_name\n"two\nlines",a.png\n"unclosed,b.png\nblue,c.png\n"x",d.png\n')
    assert good(read) == [("a.png", ("two\nlines",)), ("c.png", ("blue",)), ("d.png", ("x",))]
    assert bad(read) == {4: QUOTE}


def test_few_writers_of_tabs_quote():
    read = rows('file_name\tcaption\na.png\t"red" card\nb.png\t"blue\nc.png\t"x, y"\n', "c.tsv")
    assert good(read) == [
        ("a.png", ('"red" card',)),
        ("b.png", ('"blue',)),
        ("c.png", ("x, y",)),
    ]


def test_a_caption_of_a_megabyte_is_read():
    assert good(rows(f'file_name,caption\na.png,{"x" * 2**20}\nb.png,"{"y" * 2**20}"\n'))[1] == (
        "b.png",
        ("y" * 2**20,),
    )


def test_the_first_column_that_holds_a_caption_is_read():
    read = rows("file_name,caption,text\na.png,,red\nb.png,blue,x\nc.png,\u200b,c\nd.png,,\n")
    assert good(read) == [*[GOOD[0], GOOD[1]], ("c.png", ("c",)), ("d.png", ())]


def test_two_columns_of_one_name_are_two_captions():
    assert good(rows("file_name,caption,caption\na.png,red,crimson\n")) == [
        ("a.png", ("red", "crimson"))
    ]


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
        lines = [",".join(records[0])] + [",".join(map(str, r.values())) for r in records]
        return "\n".join(lines)
    return json.dumps(records) if name.endswith(".json") else "\n".join(map(json.dumps, records))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; it must begin with a line of columns"),
        ("\n\n", "is empty"),
        ("name;description\na.png;red\n", r"\(UTF-8, separated by semicolons\) has the columns na"),
        ("file_name,prompt\na.png,x\n", r"commas\) has the columns file_name, prompt; it needs"),
        ("caption\nred\n", r"has the columns caption; it needs one of file_name, "),
        ("a.png,red\nb.png,blue\n", "must begin with a line of columns.*first line is a.png, red"),
        ("a.png;red\n", "such as file_name;caption; its first line is a.png, red"),
        ("\x07,\x1b[2J\n", r"columns \\x07, \\x1b\[2J; it"),
        (",".join("abcdefghijkl"), "columns a, b, c, d, e, f, g, h, …; it needs"),
    ],
)
def test_a_table_of_other_columns_is_one_sentence(text, says):
    with pytest.raises(ValueError, match=says) as error:
        rows(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(encoding):
    with pytest.raises(ValueError, match=f"not UTF-8 .{encoding}. state encoding={encoding}"):
        rows("file_name,caption\na.png,red\n".encode(encoding))


def test_a_torn_utf16_table_is_a_sentence():
    with pytest.raises(ValueError, match=r"captions\.csv can't be read: not UTF-16"):
        rows("file_name,caption\na.png,red\n".encode("utf-16")[:-1])


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
def test_json_lines(text):
    assert good(rows(text, "metadata.jsonl")) == GOOD


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
    assert good(rows(lines, "metadata.jsonl", image_column="img", caption_column="prompt")) == GOOD


@pytest.mark.parametrize(
    "document",
    [
        [{"file_name": "a.png", "caption": "red"}, {"file_name": "b.png", "text": "blue"}],
        {"a.png": "red", "b.png": ["blue"]},
        {"a.png": {"caption": "red"}, "b.png": {"tags": "x", "text": "blue"}},
        {"file_name": ["a.png", "b.png"], "caption": ["red", "blue"]},
        {"file_name": {"0": "a.png", "1": "b.png"}, "text": {"0": "red", "1": "blue"}},
    ],
)
def test_json_in_the_forms_of_common_tools(document):
    assert good(rows(json.dumps(document), "metadata.json")) == GOOD
    assert good(rows(json.dumps(document, indent=2), "metadata.json")) == GOOD


def test_json_lines_that_are_called_json():
    lines = [json.dumps({"file_name": file, "caption": texts[0]}) for file, texts in GOOD]
    assert good(rows("\n".join(lines), "metadata.json")) == GOOD


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
    images = [
        {
            "filepath": "val2014",
            "filename": f"{i}.jpg",
            "split": split,
            "sentences": [{"raw": f"no. {i}", "tokens": ["no", str(i)]}, {"raw": "a card"}],
        }
        for i, split in enumerate(["train", "restval", "val", "test"])
    ]
    del images[3]["filepath"]
    images += [{"filename": "x.jpg"}, {"filename": "y.jpg", "split": "?", "sentences": []}, 5]
    read = rows(json.dumps({"dataset": "coco", "images": images}), "dataset_coco.json")
    assert good(read)[0] == ("val2014/0.jpg", ("no. 0", "a card")) and good(read)[3][0] == "3.jpg"
    assert [row.split for row in read if not row.problem] == [
        *("train", "train", "validation", "test")
    ]
    assert bad(read) == {n: "unreadable row: not of Karpathy's form" for n in (5, 6, 7)}


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


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "can't be read as Parquet"),
        (b"PAR1" * 9, "can't be read as Parquet"),
        (
            parquet({"a": ["a.png"], "b": ["red"]}),
            r"\(Parquet\) has the columns a, b; it needs one of",
        ),
        (
            parquet({"image": [b"\x89PNG"], "text": ["red"]}),
            "images themselves.*give it as parquet:",
        ),
        (
            parquet(dict(image=[{"bytes": b"\x89PNG", "path": "a.png"}], text=["red"])),
            "images themselves.*give it as parquet:",
        ),
    ],
)
def test_another_parquet_file_is_a_sentence(content, says):
    with pytest.raises(ValueError, match=says):
        rows(content, "metadata.parquet")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        ["captions.csv", "captions.tsv", "metadata.jsonl", "metadata.json", "m.parquet"]
    ),
    st.sampled_from(
        [b"file_name,caption\n", b"file_name\ttext\n", b'{"file_name": "a.png"', b"[", b""]
    ),
    st.lists(
        st.binary(max_size=12)
        | st.sampled_from(
            [b",", b"\n", b'"', b"\r", b"\t", b"a.png", b"\xff\xfe", b"\0", b"{", b"}"]
        ),
        max_size=12,
    ),
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


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from('\n\r",; '), max_size=12)),
    st.sampled_from(",;\t"),
)
def test_what_pythons_own_writer_writes_is_read(captions, separator):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator)
    writer.writerow(["file_name", "caption"])
    writer.writerows((f"{i}.png", caption) for i, caption in enumerate(captions))
    assert good(rows(file.getvalue())) == [
        (f"{i}.png", tuple(clean_captions([caption]))) for i, caption in enumerate(captions)
    ]


def test_a_record_with_a_field_twice_is_a_bad_row():
    merged = '{"file_name": "a.png", "text": "red", "file_name": "b.png", "text": "blue"}'
    half = '{"file_name": "a.png", "text": "re", "n": "b.png", "text": "blue"}'
    sound = '{"file_name": "b.png", "text": "blue"}'
    for broken in (merged, half):
        for content, name in (
            (f"{broken}\n{sound}", "x.jsonl"),
            (f"[{broken}, {sound}]", "x.json"),
        ):
            read = rows(content, name)
            assert good(read) == GOOD[1:] and [*bad(read)] == [1]


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


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        ({"0": "red", "1": "blue"}, GOOD),
        ({"1": "blue", "0": "red"}, GOOD),
        (["red", "blue"], GOOD),
    ],
)
def test_columns_of_json_are_joined_by_their_rows(captions, expected):
    table = {"file_name": {"0": "a.png", "1": "b.png"}, "caption": captions}
    assert good(rows(json.dumps(table), "captions.json")) == expected


@pytest.mark.parametrize("captions", [{"0": "red", "2": "blue"}, ["red"], {"0": "red"}])
def test_columns_of_json_of_other_rows_are_no_table(captions):
    table = {"file_name": {"0": "a.png", "1": "b.png"}, "caption": captions}
    with pytest.raises(OtherForm):
        rows(json.dumps(table), "captions.json")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_a_column_that_was_named_and_is_not_there_is_an_error(kind):
    columns = {"file_name": ["a.png", "b.png"], "alt": ["red", "blue"]}
    records = [dict(zip(columns, row)) for row in zip(*columns.values())]
    content = {
        "csv": "file_name,alt\na.png,red\nb.png,blue\n",
        "jsonl": "\n".join(map(json.dumps, records)),
        "json": json.dumps(records),
        "parquet": parquet(columns),
    }[kind]
    assert good(rows(content, f"t.{kind}", caption_column="alt")) == GOOD
    with pytest.raises(ValueError, match=r"has the columns .*; it needs .* each of alt, blib"):
        rows(content, f"t.{kind}", caption_column="alt,blib")
