"""Text is drawn in any script, and nothing of it is left out."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dalle_jax.pipelines import text

SIZE = 11


def drawn(line, width=300):
    image = Image.new("RGB", (width, 24), "white")
    text.draw(image, (2, 2), line, "black", SIZE)
    return np.asarray(image)


def forget():
    for value in vars(text).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.fixture
def no_fonts(monkeypatch, tmp_path):
    """A machine whose folders of fonts are empty but for what a test puts there."""
    monkeypatch.setattr(text, "FONT_FOLDERS", (str(tmp_path),))
    forget()
    yield tmp_path
    forget()


def make_font(path, characters):
    """A font in which each of the characters is a full black square."""
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square" for character in characters})
    pen = TTGlyphPen(None)
    corners = [(0, 0), (0, 800), (800, 800), (800, 0)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.mark.parametrize(
    "letters",
    [
        "red",
        "größer",
        "красный",
        "κόκκινος",
        "אדום",
        "أحمر",
        "phở bò",
        "ქართული",
        "հայ",
        "π≤→♠",
        "é",
    ],
)
def test_the_shipped_font_has_the_letters_of(no_fonts, letters):
    ((_, run),) = text.runs_of(letters, SIZE)
    assert run == letters
    assert (drawn(letters) < 128).any()


def test_letters_of_other_scripts_are_found_in_the_machines_fonts(no_fonts):
    make_font(no_fonts / "SomeSans-Regular.ttf", "红色")
    runs = [run for _, run in text.runs_of("a 红色 circle", SIZE)]
    assert runs == ["a ", "红色 ", "circle"]
    assert (drawn("红") < 30).sum() > 50  # A square, not the outline of a box.


def test_a_font_named_for_the_script_is_tried_first(no_fonts):
    for name in ("A-Bold", "B", "NotoSansThai-Bold", "NotoSansThai-Regular"):
        make_font(no_fonts / f"{name}.ttf", "ส")
    assert text.font_with("ส").stem == "NotoSansThai-Regular"


def test_what_no_font_has_is_a_box_and_said_once(no_fonts, capsys):
    assert [run for _, run in text.runs_of("红色 x 蓝", SIZE)] == ["□□ x □"]
    assert (drawn("红") < 128).any()
    said = capsys.readouterr().err
    assert said.count("no font of this machine has CJK letters") == 1


def test_a_file_that_is_no_font_is_passed_over(no_fonts, capsys):
    (no_fonts / "broken.ttf").write_bytes(b"\0\1\0\0no font")
    make_font(no_fonts / "sound.ttf", "红")
    assert text.font_with("红").stem == "sound"
    assert "broken.ttf is passed over" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("a\u200bb", r"a\u200bb"),
        ("bell\x07", r"bell\x07"),
        ("nul\0", r"nul\x00"),
        ("\ud800", r"\ud800"),
        ("\ue000", r"\ue000"),
        ("\u202egnp", r"\u202egnp"),
        ("\U000e0041", r"\U000e0041"),
        ("\ufeffbom", r"\ufeffbom"),
        ("line\u2028end", r"line\u2028end"),
        ("a\tb\nc", "a\tb\nc"),
        ("plain 红 é", "plain 红 é"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("x\xa0y", "x\xa0y"),
    ],
)
def test_characters_without_a_shape_are_escapes(given, seen):
    assert text.visible(given) == seen


def test_lines_break_between_words_and_within_those_that_are_too_long():
    lines = text.wrap("a large red circle " + "x" * 60, 100, SIZE)
    assert " ".join(lines).replace(" ", "") == "alargeredcircle" + "x" * 60
    assert all(text.length(line, SIZE) <= 100 for line in lines)
    assert lines[0] == "a large red circle"[: len(lines[0])]


def test_east_asian_text_breaks_between_any_letters(no_fonts):
    make_font(no_fonts / "cjk.ttf", "红色大圆圈")
    lines = text.wrap("红色大圆圈" * 4, 80, SIZE)
    assert "".join(lines) == "红色大圆圈" * 4
    assert len(lines) > 1 and all(text.length(line, SIZE) <= 80 for line in lines)
    assert text.wrap("红色 circle 红", 500, SIZE) == ["红色 circle 红"]


def test_an_empty_text_is_an_empty_line():
    assert text.wrap("", 100, SIZE) == [""] and text.wrap(" \n ", 100, SIZE) == [""]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("e\u0301a", ["e\u0301", "a"]),
        ("👩\u200d🚀x", ["👩\u200d🚀", "x"]),
        ("👍\U0001f3fd!", ["👍\U0001f3fd", "!"]),
        ("🇩🇪🇫🇷", ["🇩🇪", "🇫🇷"]),
        ("❤\ufe0f", ["❤\ufe0f"]),
    ],
)
def test_what_is_drawn_as_one_stays_together(given, expected):
    assert list(text.graphemes(given)) == expected


def test_right_to_left_text_is_laid_out_from_the_right(no_fonts):
    make_font(no_fonts / "cjk.ttf", "红")
    image = drawn("אדום 红", 60)
    black = (image < 30).all(-1).sum(0)
    assert black[:14].max() >= 8 > black[20:40].max()  # The square of 红 lies at the left.


@settings(max_examples=60)
@given(st.text(max_size=30))
def test_any_text_is_wrapped_and_drawn_whole(letters):
    lines = text.wrap(letters, 120, SIZE)
    kept = "".join("".join(lines).split())
    assert kept == "".join(text.visible(letters).split())
    for line in lines:
        drawn(line)
