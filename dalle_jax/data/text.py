"""Captions from bytes and records: encodings, line ends, and which field holds a caption."""

import codecs
import contextlib
import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dalle_jax.data import git_lfs

CAPTION_KEYS = ("caption", "text", "captions")
UNREADABLE_CAPTION = "unreadable caption"

# The byte order marks of files; UTF-32's little-endian one begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Encodings by the letters that text in them has, in the order of asking, and their least share
# among the characters beyond ASCII: Japanese text mixes kana with Chinese characters.
_SCRIPTS = (
    ("shift_jis", "\u3040-\u30ff", 0.3),
    ("euc_jp", "\u3040-\u30ff", 0.3),
    ("euc_kr", "\uac00-\ud7a3", 0.5),
    ("cp1251", "\u0430-\u045f", 0.7),
    ("gb18030", "\u4e00-\u9fff", 0.5),
)
_NO_CONTROLS = bytes({*range(256)} - {*range(32)} | set(b"\t\n\r"))
_LINE_END = re.compile(r"\r\n|\n|\r")
# Zero-width characters that mean nothing at the end of a caption; str.strip leaves them.
_EDGES = "\ufeff\u200b\u2060\0"
# Characters that leave no mark on the page although their category is that of marks or letters.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
# What programs write for a value that is missing or went wrong.
_PLACEHOLDERS = frozenset(
    ("nan", "<na>", "nat", "none", "null", "nil", "undefined", "n/a", "#n/a", "#name?", "#value!")
    + ("#ref!", "#div/0!", "#num!", "#null!", "[object object]")
)
_BOX = re.compile(r"\d+(\s+-?\d*\.\d+){4,}")
_INVISIBLE_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zs", "Zl", "Zp"))


def check_encoding(encoding: str) -> str:
    """The name of a text encoding as Python spells it; a ValueError if there is none."""
    try:
        "".encode(encoding)  # Also rejects codecs from bytes to bytes, such as hex.
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError, ValueError):
        raise ValueError(
            f"there is no text encoding {encoding!r}; examples are utf-8, utf-16, cp1252, "
            "latin-1, gb18030 and shift_jis"
        ) from None


def decode_text(encoded: bytes, encoding: str = "utf-8") -> str:
    """The text of a whole file, strictly decoded: no character is ever replaced.

    A byte order mark at the beginning takes precedence over `encoding`, and is dropped.

    Raises:
        ValueError: the bytes are not in that encoding; the reason is fit for a report.
    """
    if git_lfs.is_pointer(encoded):
        raise ValueError(git_lfs.POINTER)
    mark, encoding = marked_encoding(encoded, encoding)
    try:
        text = encoded[mark:].decode(encoding)
    except UnicodeError:
        raise ValueError(not_decodable(encoded, encoding)) from None
    if encoding == "utf-8" and _looks_like_utf16(encoded):
        raise ValueError(not_decodable(encoded, encoding))
    return text


def marked_encoding(encoded: bytes, encoding: str = "utf-8") -> tuple[int, str]:
    """The number of bytes of a byte order mark to skip, and the encoding of the rest."""
    for mark, name in _MARKS:
        if encoded.startswith(mark):
            # Python reads the direction of UTF-16 and UTF-32 from the mark, and drops it.
            return (len(mark), name) if name == "utf-8" else (0, name)
    return 0, codecs.lookup(encoding).name


def not_decodable(encoded: bytes, encoding: str = "utf-8") -> str:
    """Why bytes are not text in `encoding`, for a report, with a guess of the right one."""
    name = {"utf-8": "UTF-8", "utf-16": "UTF-16", "utf-32": "UTF-32"}.get(encoding, encoding)
    guess = _guess(encoded) if encoding == "utf-8" else ""
    return f"not {name}" + (f" ({guess}? state encoding={guess})" if guess else "")


def captions_of_lines(text: str) -> list[str]:
    r"""The captions of a `.txt` or `.caption` file, one a line, without blank ones.

    Lines end at \n, \r\n and \r, and at no other character that Unicode counts as a line end.
    """
    return clean_captions(_LINE_END.split(text))


def captions_of_record(record: Any, column: str = "") -> list[str] | None:
    """The captions of a record; [] where it has none, None where it is of another form.

    They come from the first of `CAPTION_KEYS` that holds any, or from all columns that `column`
    names, separated by commas. A field holds a text or a list of texts; null, NaN and blank texts
    are no captions.
    """
    found = columns_of_record(record, column)
    return None if found is None else [caption for caption, _ in found]


def columns_of_record(record: Any, column: str = "") -> list[tuple[str, str]] | None:
    """As `captions_of_record`, each caption with the name of its column."""
    if not isinstance(record, dict):
        return None
    found, misshapen = [], False
    for key in caption_columns(column) or CAPTION_KEYS:
        captions = _captions_of_value(record.get(key))
        misshapen = misshapen or captions is None
        found += [(caption, key) for caption in captions or ()]
        if found and not column:
            return found
    return None if misshapen and not found else found


def parse_json(text: str) -> Any:
    """The content of JSON, with `unique_fields`; None if it is no JSON."""
    try:
        return json.loads(text, object_pairs_hook=unique_fields)
    except (ValueError, RecursionError):
        return None


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any] | str:
    """For `json.loads`: an object, or a text that says that a field occurs twice.

    So do the fields of two records that damage has merged: `json` itself would take the last of
    each, and so one image's name and another's caption.
    """
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else "a field occurs twice"


def caption_columns(column: str) -> list[str]:
    """The names of columns in the setting `caption_column`."""
    return [name for name in map(str.strip, column.split(",")) if name]


def check_fields(what: str, wanted: Sequence[str], met: Collection[str]) -> None:
    """Raise a ValueError if the JSON of the data set `what` lacks a field of captions.

    Args:
        what: for the message.
        wanted: fields that the setting `caption_column` names.
        met: all fields of its JSON; none if there is no readable JSON.
    """
    if met and (lacking := [name for name in wanted if name not in met]):
        shown = [repr(name) if "," in name or not name.isprintable() else name for name in met]
        there = ", ".join(sorted(shown)[:50]) + (", …" if len(shown) > 50 else "")
        raise ValueError(
            f"caption_column={lacking[0]} names no field of the JSON in {what}, which has {there}"
        )


def clean_captions(texts: list[str]) -> list[str]:
    """The texts that hold a caption, stripped of white space, in their order."""
    stripped = (_strip(text) for text in texts)
    return [text for text in stripped if is_visible(text)]


def doubt_about(captions: Iterable[str]) -> str | None:
    """Why readable texts are hardly captions, or None."""
    for caption in captions:
        if caption.casefold() in _PLACEHOLDERS:
            return "caption such as nan, None or #NAME?, which stands for a missing one"
        if _BOX.fullmatch(caption):
            return "caption of numbers, as in YOLO's files of boxes"
        if not caption.isascii() and (doubt := _doubt_about_encoding(caption)):
            return doubt
    return None


def _doubt_about_encoding(caption: str) -> str | None:
    if "\ufffd" in caption:
        return "caption with the mark U+FFFD in place of a lost character"
    for encoding in ("cp1252", "latin-1"):
        with contextlib.suppress(UnicodeError):
            caption.encode(encoding).decode("utf-8")
            return "caption like cafÃ©, which is UTF-8 that was read in another encoding"
    return None


def is_visible(text: str) -> bool:
    """Whether a text has any character that leaves a mark on the page.

    Spaces, control and format characters, variation selectors, blank fillers and lone surrogates
    leave none.
    """
    if text.isascii():
        return any("!" <= character <= "~" for character in text)
    return any(
        unicodedata.category(character) not in _INVISIBLE_CATEGORIES and not _BLANK.match(character)
        for character in text
    )


def _strip(text: str) -> str:
    stripped = text.strip()
    while stripped and (stripped[0] in _EDGES or stripped[-1] in _EDGES):
        stripped = stripped.strip(_EDGES).strip()
    return stripped


def _captions_of_value(value: Any) -> list[str] | None:
    """The captions in one field; None where it is neither a text nor a list of texts."""
    values = value if isinstance(value, list | tuple) else [value]
    values = [v for v in values if not (v is None or (isinstance(v, float) and math.isnan(v)))]
    if not all(isinstance(value, str) for value in values):
        return None
    return clean_captions(values)


def _looks_like_utf16(encoded: bytes) -> bool:
    """Whether every second byte tends to be a control code, as the upper bytes of letters are."""
    if len(encoded) < 6 and 0 not in encoded:
        return False
    few, many = sorted((_controls(encoded[::2]), _controls(encoded[1::2])))
    return many * 4 >= max(len(encoded), 4) and many > 2 * few


def _guess(encoded: bytes) -> str:
    """The likely encoding of bytes that are not UTF-8, or an empty text."""
    sample = encoded[:1_000_000]
    if _looks_like_utf16(sample):
        return "utf-16-le" if _controls(sample[1::2]) >= _controls(sample[::2]) else "utf-16-be"
    tail = re.search(rb"[\xc0-\xff][\x80-\xbf]*$", sample)
    if tail and _decodes(sample, "utf-8") and (len(tail[0]) > 1 or not sample[:-1].isascii()):
        return ""  # It is UTF-8 that is cut off inside its last character.
    # In Western European text, letters beyond ASCII stand one by one among ASCII letters; in
    # other scripts nearly every byte of a word is beyond ASCII.
    runs = re.findall(rb"[\x80-\xff]+", sample)
    if sum(len(run) > 2 for run in runs) * 4 < len(runs):
        return "cp1252" if _decodes(sample, "cp1252") else ""
    for name, letters, least_share in _SCRIPTS:
        beyond = re.sub(r"[\x00-\x7f]", "", _decodes(sample, name))
        if len(re.findall(f"[{letters}]", beyond)) > max(least_share * len(beyond), 1):
            return name
    return ""


def _controls(encoded: bytes) -> int:
    return len(encoded.translate(None, _NO_CONTROLS))


def _decodes(encoded: bytes, encoding: str) -> str:
    """The text of bytes in an encoding without a torn end; "" if they are none."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(encoded)
    except UnicodeDecodeError:
        return ""
