"""Tables of separated values: their separators, columns and broken quotes."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.text import clean_captions
from tests.data.tables import GOOD, bad, good, rows


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
    empty = separator.join([cell] * count)
    lines = ["file_name|caption", "a.png|red", empty, "b.png|blue", empty, empty]
    read = rows("\n".join(lines).replace("|", separator) + "\n")
    assert good(read) == GOOD and bad(read) == {}


LONG = "x" * 2**20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file_name,caption,text\na,,red\nb,blue,x\nc,\u200b,c\nd,,\n", "red blue c ()"),
        ("file_name,caption,caption\na,red,crimson\n", "red+crimson"),
        (f'file_name,caption\na,{LONG}\nb,"{LONG}"\n', f"{LONG} {LONG}"),
        ('file_name\tcaption\na\t"red"!\nb\t"blue\nc\t"x,y"\n', '"red"! "blue x,y'),
        ('caption,file_name\n"x",a\ny,b\n', "x y"),
    ],
)
def test_captions_are_those_of_the_first_columns_that_hold_one(text, expected):
    captions = [() if texts == "()" else tuple(texts.split("+")) for texts in expected.split(" ")]
    assert good(rows(text)) == [*zip("abcd", captions)]


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


@settings(max_examples=100)
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
