"""Text in pictures, in any script: each part in a font of this machine that has its letters.

The first font is matplotlib's DejaVu Sans, which has the letters of Europe, Hebrew, Arabic and many
symbols. For others the usual folders of fonts are searched. A letter that no font has is a box, and
a character without a shape, such as a control character, is its escape: nothing is left out.
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
# Colour fonts of bitmaps load at the sizes of their bitmaps only.
BITMAP_SIZES = (109, 160, 137, 136, 128, 96, 72, 64)
BOX = "□"

# Parts of the names of fonts that have the scripts of East Asia, which Unicode names otherwise.
_EAST_ASIAN = (
    *("cjk", "sourcehan", "wqy", "wenquanyi", "droidsansfallback", "pingfang", "hiragino"),
    *("msyh", "simsun", "simhei", "yugoth", "msgothic", "meiryo", "malgun", "nanum", "gulim"),
    *("ipag", "ipaex", "takao", "vlgothic", "uming", "ukai", "unifont"),
)
_EAST_ASIAN_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
_JOINERS = "\u200c\u200d"  # Without a shape of their own, but they change their neighbours'.
_WITHOUT_SHAPE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class Font(NamedTuple):
    """A font file at a size in pixels; `scale` shrinks one that has bitmaps of another size."""

    face: ImageFont.FreeTypeFont
    scale: float = 1.0


def visible(text: str) -> str:
    """The text with characters that have no shape as escapes, as "\\\\u200b"; white space stays."""
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
    """Lines of at most `width` pixels; words break where they have to, East Asian text anywhere."""
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
    """The width of a line in pixels."""
    return sum(font.face.getlength(part) * font.scale for font, part in runs_of(text, size))


def draw(image: Image.Image, corner: tuple[float, float], text: str, fill: str, size: int) -> None:
    """Draw a line of text into an RGB image, its upper left corner given."""
    x, y = corner
    runs = list(runs_of(text, size))
    canvas = ImageDraw.Draw(image)
    baseline = y + _base(size).face.getmetrics()[0]
    for font, part in reversed(runs) if _is_right_to_left(text) else runs:
        if font.scale == 1.0:
            canvas.text((x, baseline), part, fill, font.face, anchor="ls")
        else:
            picture = _in_colors(font, part)
            place = round(x), round(baseline - 0.8 * picture.height)
            image.paste(picture, place, picture)
        x += font.face.getlength(part) * font.scale


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """Words and wide letters, and whether white space stands before each."""
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
    """A word in pieces that are no wider than a line."""
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
    """What is drawn as one: a letter with its marks, a joined emoji, a pair of flag letters."""
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
    """Parts of a line with the font of each."""
    if text.isascii():
        yield _base(size), text
        return
    path: Path | None = None
    shown: list[tuple[Path, str]] = []
    for grapheme in graphemes(text):
        # A space stays with the letters before it, so that these are shaped together.
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
    # Found without importing matplotlib, which takes a second.
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
    """The first font that has all characters of a grapheme; None where there is none."""
    needed = [c for c in grapheme if c not in _JOINERS and not "\ufe00" <= c <= "\ufe0f"]
    for path in itertools.chain((_base_path(),), _likeliest_first(grapheme[0])):
        letters = _letters(path)
        if all(ord(character) in letters for character in needed):
            return path
    _say_missing(_script(grapheme[0]))
    return None


@lru_cache
def _say_missing(script: str) -> None:
    print(
        f"no font of this machine has {script} letters; they are drawn as boxes (Debian, Ubuntu: "
        "apt-get install fonts-noto-core fonts-noto-cjk)",
        file=sys.stderr,
    )


def _script(character: str) -> str:
    """The first word of a letter's name, which is that of its script for nearly all letters."""
    return re.split("[ -]", unicodedata.name(character, "unknown"), maxsplit=1)[0]


def _likeliest_first(character: str) -> list[Path]:
    """The fonts of the machine, those first that are named for the letter's script."""
    script = _script(character)
    parts = _EAST_ASIAN if script.startswith(_EAST_ASIAN_SCRIPTS) else (script.lower(),)

    def rank(path: Path) -> tuple[bool, bool]:
        name = path.stem.lower().replace(" ", "")
        styled = any(style in name for style in ("bold", "italic", "oblique", "black", "light"))
        return not any(part and part in name for part in parts), styled

    return sorted(_installed(), key=rank)


@lru_cache
def _installed() -> tuple[Path, ...]:
    found = []
    for folder in FONT_FOLDERS:
        top = Path(os.path.expandvars(folder)).expanduser()
        for where, _, names in os.walk(top):
            found += [
                Path(where, name)
                for name in names
                if name.lower().endswith((".ttf", ".otf", ".ttc", ".otc"))
            ]
    return tuple(sorted(found))


@lru_cache
def _letters(path: Path) -> frozenset[int] | set[int]:
    """The code points of which a font has letters; none if it can't be drawn with."""
    from matplotlib.ft2font import FT2Font

    try:
        letters = set(FT2Font(os.fspath(path)).get_charmap())
        _load(path, 12)
    except Exception as error:  # FreeType raises whatever a damaged font makes of it.
        print(f"the font {path} is passed over: {error}", file=sys.stderr)
        return frozenset()
    # Such a font has a box for every code point.
    return frozenset() if len(letters) > 1_000_000 else letters
