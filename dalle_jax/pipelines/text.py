"""Rendering of text in any script, each part in an installed font that has its letters.

The first font is matplotlib's DejaVu Sans, which covers European scripts, Hebrew, Arabic and many
symbols; for others the usual font folders are searched. A letter without a font becomes a box, and
a character without a shape, such as a control character, its escape sequence.
"""

import importlib.util
import itertools
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

FONT_FOLDERS = (
    "~/.local/share/fonts",
    "~/.fonts",
    "/usr/local/share/fonts",
    "/usr/share/fonts",
    "/run/current-system/sw/share/X11/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "%LOCALAPPDATA%/Microsoft/Windows/Fonts",
    "%WINDIR%/Fonts",
)
# Colour fonts load only at the sizes of their bitmaps.
BITMAP_SIZES = (109, 160, 137, 136, 128, 96, 72, 64)
BOX = "□"

# Parts of the names of East Asian fonts, which differ from Unicode's names of the scripts.
_EAST_ASIAN = (
    *("cjk", "sourcehan", "wqy", "wenquanyi", "droidsansfallback", "pingfang", "hiragino"),
    *("msyh", "simsun", "simhei", "yugoth", "msgothic", "meiryo", "malgun", "nanum", "gulim"),
    *("ipag", "ipaex", "takao", "vlgothic", "uming", "ukai", "unifont"),
)
_EAST_ASIAN_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
_JOINERS = "\u200c\u200d"  # no shape, but they change the neighbours' shapes
_WITHOUT_SHAPE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class Font(NamedTuple):
    """A font at a size in pixels; `scale` resizes bitmaps of another size."""

    face: ImageFont.FreeTypeFont
    scale: float = 1.0


def visible(text: str) -> str:
    """The text with escapes, as "\\u200b", for shapeless characters other than white space."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isspace() and character not in "\u2028\u2029\x1c\x1d\x1e\x1f\x85"
        else _escape(character)
        if unicodedata.category(character) in _WITHOUT_SHAPE and character not in _JOINERS
        else character
        for character in text
    )


def wrap(text: str, width: float, size: int) -> list[str]:
    """Lines of at most `width` pixels, broken between words, in long words and in wide letters."""
    lines, line = [], ""
    for space, part in _parts(visible(text)):
        for piece in _fitting(part, width, size):
            longer = f"{line}{' ' if space and line else ''}{piece}"
            if line and length(longer, size) > width:
                lines.append(line)
                longer = piece
            line, space = longer, False
    return [*lines, line]


def length(text: str, size: int) -> float:
    """Width of a line in pixels."""
    return sum(font.face.getlength(part) * font.scale for font, part in runs_of(text, size))


def draw(image: Image.Image, corner: tuple[float, float], text: str, fill: str, size: int) -> None:
    """Draw a line of text into an RGB image with its upper left corner at `corner`."""
    x, y = corner
    runs = list(runs_of(text, size))
    canvas = ImageDraw.Draw(image)
    baseline = y + _base(size).face.getmetrics()[0]
    for font, part in reversed(runs) if _is_right_to_left(text) else runs:
        if font.scale == 1.0:
            canvas.text((x, baseline), part, fill, font.face, anchor="ls")
        else:
            picture = _in_colors(font, part)
            image.paste(picture, (round(x), round(baseline - 0.8 * picture.height)), picture)
        x += font.face.getlength(part) * font.scale


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """(Whether white space precedes it, a word or wide letter), for each in the text."""
    for word in text.split():
        space, narrow = True, ""
        for grapheme in graphemes(word):
            if unicodedata.east_asian_width(grapheme[0]) in "WF":
                if narrow:
                    yield space, narrow
                    space, narrow = False, ""
                yield space, grapheme
                space = False
            else:
                narrow += grapheme
        if narrow:
            yield space, narrow


def _fitting(word: str, width: float, size: int) -> Iterator[str]:
    """The pieces of a word, none wider than a line."""
    if length(word, size) <= width:
        yield word
        return
    piece = ""
    for grapheme in graphemes(word):
        if piece and length(piece + grapheme, size) > width:
            yield piece
            piece = ""
        piece += grapheme
    yield piece


def graphemes(text: str) -> Iterator[str]:
    """The graphemes: a letter with its marks, a joined emoji, a pair of flag letters."""
    found = ""
    for character in text:
        joined = (
            unicodedata.category(character).startswith("M")
            or character in _JOINERS
            or found.endswith("\u200d")
            or "\U0001f3fb" <= character <= "\U0001f3ff"
            or (_is_flag(character) and len(found) == 1 and _is_flag(found))
        )
        if found and not joined:
            yield found
            found = ""
        found += character
    if found:
        yield found


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _is_right_to_left(text: str) -> bool:
    strong = (unicodedata.bidirectional(character) for character in text)
    return next((kind for kind in strong if kind in ("L", "R", "AL")), "L") != "L"


def runs_of(text: str, size: int) -> Iterator[tuple[Font, str]]:
    """The parts of a line, each with its font."""
    if text.isascii():
        yield _base(size), text
        return
    path: Path | None = None
    shown: list[tuple[Path, str]] = []
    for grapheme in graphemes(text):
        # A space belongs to the letters before it, so that they are shaped together.
        if not (grapheme == " " and path and _load(path, size).scale == 1.0):
            path = font_with(grapheme)
        shown.append((path or _base_path(), grapheme if path else BOX))
    for path, group in itertools.groupby(shown, key=lambda one: one[0]):
        yield _load(path, size), "".join(part for _, part in group)


def _in_colors(font: Font, text: str) -> Image.Image:
    _, top, right, bottom = font.face.getbbox(text)
    picture = Image.new("RGBA", (max(1, round(right)), max(1, round(bottom))))
    ImageDraw.Draw(picture).text((0, 0), text, font=font.face, embedded_color=True)
    picture = picture.crop((0, max(0, round(top)), picture.width, picture.height))
    size = (max(1, round(side * font.scale)) for side in picture.size)
    return picture.resize(tuple(size), Image.Resampling.LANCZOS)


def _base(size: int) -> Font:
    return _load(_base_path(), size)


@lru_cache
def _base_path() -> Path:
    # Importing matplotlib would take a second.
    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations
    return Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf")


@lru_cache
def _load(path: Path, size: int) -> Font:
    for native in (size, *BITMAP_SIZES):
        try:
            scale = 1.0 if native == size else 1.15 * size / native
            return Font(ImageFont.truetype(path, native), scale)
        except OSError as error:
            problem = error
    raise ValueError(f"the font {path} can't be loaded: {problem}")


@lru_cache(maxsize=2**14)
def font_with(grapheme: str) -> Path | None:
    """The first font that has all characters of a grapheme; None without any."""
    needed = [c for c in grapheme if c not in _JOINERS and not "\ufe00" <= c <= "\ufe0f"]
    for path in itertools.chain((_base_path(),), _likeliest_first(grapheme[0])):
        letters = code_points(path)
        if all(ord(character) in letters for character in needed):
            return path
    warn_missing(_script(grapheme[0]))
    return None


@lru_cache
def warn_missing(script: str) -> None:
    """Say once that the letters of a script are drawn as boxes."""
    print(
        f"no font of this machine has {script} letters; they are drawn as boxes (Debian, Ubuntu: "
        "apt-get install fonts-noto-core fonts-noto-cjk)",
        file=sys.stderr,
    )


def _script(character: str) -> str:
    """The first word of a letter's Unicode name, which is its script for nearly all letters."""
    return re.split("[ -]", unicodedata.name(character, "unknown"), maxsplit=1)[0]


def _likeliest_first(character: str) -> list[Path]:
    """The installed fonts, first those named for the letter's script."""
    script = _script(character)
    parts = _EAST_ASIAN if script.startswith(_EAST_ASIAN_SCRIPTS) else (script.lower(),)

    def rank(path: Path) -> tuple[bool, bool]:
        name = path.stem.lower().replace(" ", "")
        styled = any(style in name for style in ("bold", "italic", "oblique", "black", "light"))
        return not any(part and part in name for part in parts), styled

    return sorted(installed_fonts(), key=rank)


@lru_cache
def installed_fonts() -> tuple[Path, ...]:
    """The font files in `FONT_FOLDERS`, sorted."""
    folders = [Path(os.path.expandvars(folder)).expanduser() for folder in FONT_FOLDERS]
    files = [Path(top, name) for f in folders for top, _, names in os.walk(f) for name in names]
    suffixes = (".ttf", ".otf", ".ttc", ".otc")
    return tuple(sorted(path for path in files if path.suffix.lower() in suffixes))


@lru_cache
def code_points(path: Path) -> frozenset[int] | set[int]:
    """The code points that a font has letters for; none if it can't be loaded."""
    from matplotlib.ft2font import FT2Font

    try:
        letters = set(FT2Font(os.fspath(path)).get_charmap())
        _load(path, 12)
    except Exception as error:  # FreeType raises various errors for damaged fonts
        print(f"the font {path} is passed over: {error}", file=sys.stderr)
        return frozenset()
    # A font with that many has a box for every code point.
    return frozenset() if len(letters) > 1_000_000 else letters
