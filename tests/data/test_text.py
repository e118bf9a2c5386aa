import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.data.text import (
    captions_of_lines,
    captions_of_record,
    check_encoding,
    columns_of_record,
    decode_text,
    doubt_about,
)

TEXT = "une carte rosée à l’été"


@pytest.mark.parametrize(
    ("encoded", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        (TEXT.encode("utf-8-sig"), "cp1252"),
        (TEXT.encode("utf-16"), "utf-8"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "utf-8"),
        (TEXT.encode("utf-32"), "utf-8"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-16"), "utf-16-le"),
        (TEXT.encode("cp1252"), "cp1252"),
        (TEXT.encode("cp1252"), "windows-1252"),
    ],
)
def test_text_is_read_in_its_own_or_the_stated_encoding(encoded, encoding):
    assert decode_text(encoded, encoding) == TEXT


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        (TEXT, "cp1252", "cp1252"),
        ("Häuser in Düsseldorf", "latin-1", "cp1252"),
        ("café", "latin-1", "cp1252"),
        ("красный квадрат над синим кругом", "cp1251", "cp1251"),
        ("赤い四角は青い丸のうえにあります", "shift_jis", "shift_jis"),
        ("赤い四角は青い丸のうえにあります", "euc_jp", "euc_jp"),
        ("红色的正方形在蓝色的圆形上面", "gb18030", "gb18030"),
        ("파란 동그라미 위의 빨간 네모", "euc_kr", "euc_kr"),
        ("a red card", "utf-16-le", "utf-16-le"),
        ("a red card", "utf-16-be", "utf-16-be"),
        ("красный квадрат", "utf-16-le", "utf-16-le"),
    ],
)
def test_another_encoding_is_refused_with_a_guess_that_reads_it(text, encoding, guess):
    with pytest.raises(ValueError, match=rf"^not UTF-8 \({guess}\? state encoding={guess}\)$"):
        decode_text(text.encode(encoding))
    assert decode_text(text.encode(encoding), guess) == text


@pytest.mark.parametrize(
    ("encoded", "encoding", "reason"),
    [
        (b"\xff\xfea", "utf-8", "not UTF-16"),
        (b"caf\xe9", "ascii", "not ascii"),
        (b"\x81", "cp1252", "not cp1252"),
        (b"\xed\xa0\x80", "utf-8", "not UTF-8"),
        (b"\xc0\xaf", "utf-8", "not UTF-8"),
        (b"a red card \xe2\x80", "utf-8", "not UTF-8$"),
        ("ö, ü".encode()[:-1], "utf-8", "not UTF-8$"),
    ],
)
def test_bytes_of_no_text_are_refused(encoded, encoding, reason):
    with pytest.raises(ValueError, match=f"^{reason}"):
        decode_text(encoded, encoding)


@given(st.binary(max_size=40))
def test_nothing_is_replaced_in_decoding(encoded):
    try:
        text = decode_text(encoded)
    except ValueError as error:
        assert str(error).startswith(("not UTF-", "a pointer of Git LFS"))
    else:
        spelled = ("\ufffd".encode(), b"\xff\xfd", b"\xfd\xff")  # in UTF-8 and UTF-16
        assert ("\ufffd" in text) == any(code in encoded for code in spelled)


@pytest.mark.parametrize("encoding", ["", "hex", "utf-9", "rot13", "\0", "utf 8 bom", "x" * 999])
def test_an_unknown_encoding_is_a_sentence(encoding):
    with pytest.raises(ValueError, match="there is no text encoding"):
        check_encoding(encoding)


def test_an_encoding_may_be_spelled_freely():
    assert check_encoding("UTF8") == "utf-8" and check_encoding("Windows-1252") == "cp1252"


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("a\nb", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\rb", ["a", "b"]),
        ("a\n\r\nb", ["a", "b"]),
        ("  a red \t\n\n b ", ["a red", "b"]),
        *((f"a{end}b", [f"a{end}b"]) for end in "\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85"),
        ("", []),
        ("\n \n\t", []),
        ("a\n\ufeffb\u200b", ["a", "b"]),
        ("❤\ufe0f", ["❤\ufe0f"]),
        ("שלום\u200f", ["שלום\u200f"]),
    ],
)
def test_a_caption_ends_at_the_end_of_a_line(text, captions):
    assert captions_of_lines(text) == captions


@pytest.mark.parametrize(
    "caption",
    [
        *("\u200b", "\u200d\u200c", "\ufeff", "\u00ad", "\u200e\u200f", "\u202a\u202c", "\u2066"),
        *("\ufe0f", "\ufe0e\ufe0f", "\u3164", "\u2800", "\u180e", "\u034f", "\U000e0100", "\0\0"),
        *("\u00a0", "\u3000", "\x07", "\x7f", "\u2060", "\u061c", "\U000e0020", "\ud800", "\u115f"),
    ],
)
def test_an_invisible_caption_is_none(caption):
    assert captions_of_lines(caption) == []
    assert captions_of_record({"caption": caption, "text": "a card"}) == ["a card"]
    assert captions_of_lines(f"a{caption}b") == [f"a{caption}b"]


@pytest.mark.parametrize("caption", ["a", "!", "红", "🍎", "0", "é", "\u0301", "\ue000", "#", "~"])
def test_any_visible_character_is_a_caption(caption):
    assert captions_of_lines(caption) == [caption]


@pytest.mark.parametrize(
    ("record", "captions"),
    [
        ({"caption": "a"}, ["a"]),
        ({"text": " a "}, ["a"]),
        ({"captions": ["a", "b"]}, ["a", "b"]),
        ({"caption": ["a", None, " ", "b"]}, ["a", "b"]),
        ({"caption": None, "text": "a"}, ["a"]),
        ({"caption": "", "text": "a"}, ["a"]),
        ({"caption": " \u200b", "text": "a"}, ["a"]),
        ({"caption": math.nan, "text": "a"}, ["a"]),
        ({"caption": [], "text": "", "captions": ["a"]}, ["a"]),
        ({"caption": [None, ""], "text": "a"}, ["a"]),
        ({"caption": "a", "text": "b"}, ["a"]),
        ({"caption": 5, "text": "a"}, ["a"]),
        ({"caption": None}, []),
        ({"caption": ""}, []),
        ({}, []),
        ({"caption": 5}, None),
        ({"caption": True}, None),
        ({"caption": {"en": "a"}}, None),
        ({"captions": ["a", 5]}, None),
        ([], None),
        ("a", None),
        (None, None),
    ],
)
def test_the_first_field_that_holds_a_caption_is_read(record, captions):
    assert captions_of_record(record) == captions


def test_a_named_column_is_read_and_no_other():
    record = {"caption": "a", "blip": "b", "alt": ["c", "d"]}
    assert captions_of_record(record, "blip") == ["b"]
    assert captions_of_record(record, "prompt") == []


def test_each_of_several_captions_knows_its_column():
    record = {"caption": "a", "blip": "b", "alt": ["c", "d"], "llava": None}
    of_columns = [("b", "blip"), ("c", "alt"), ("d", "alt")]
    assert columns_of_record(record, "blip, alt,llava") == of_columns
    assert columns_of_record(record) == [("a", "caption")]


@pytest.mark.parametrize(
    ("caption", "doubt"),
    [
        *((c, "stands for a missing one") for c in ("nan", "NaN", "None", "NULL", "<NA>")),
        *((c, "stands for a missing one") for c in ("#NAME?", "#REF!")),
        *((c, "YOLO") for c in ("0 0.5 0.5 0.1 0.1", "12 0.1 0.2 .3 0.4 0.91")),
        *((c, None) for c in ("7", "none of them", "12 0.5 red cards", "ナン", "n", "1 2 3 4 5")),
        *((c, "read in another encoding") for c in ("un cafÃ©", "the catâ€™s hat", "Ã\x81rvore")),
        ("caf\ufffd", r"U\+FFFD"),
        *(
            (c, None)
            for c in ("un café, déjà vu", "Ä Ö Ü ß", "красный", "赤い猫", "“quoted” – and…")
        ),
    ],
)
def test_what_is_hardly_a_caption_is_noted(caption, doubt):
    found = doubt_about(["a red card", caption])
    assert found is None if doubt is None else re.search(doubt, found)


@pytest.mark.parametrize(
    "encoded", [b"x\x1a", b"x\x0cy", b"a\x0c", b"\0\0\0\0", b"\0" * 64, b"ab\x1b[1mred\x1b[0m"]
)
def test_a_few_control_codes_are_no_utf16(encoded):
    assert decode_text(encoded) == encoded.decode()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["x", "red", "красный", "κόκκινο", "a red card\r\nof paper\r\n"])
def test_utf16_without_a_mark_is_found(text, encoding):
    with pytest.raises(ValueError, match=f"state encoding={encoding}"):
        decode_text(text.encode(encoding))
