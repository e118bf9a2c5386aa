"""The installed colour-emoji font, and one picture of each emoji it can draw."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT_FOLDERS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts"),
    *("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
)
FONT_NAMES = (
    *("NotoColorEmoji.ttf", "NotoColorEmoji-Regular.ttf", "Apple Color Emoji.ttc"),
    *("TwitterColorEmoji-SVGinOT.ttf", "Twemoji.Mozilla.ttf", "JoyPixels.ttf"),
)
# Bitmap fonts load only at their own sizes: Noto at 109, Apple's at 160, and so on.
SIZES = (109, 160, 137, 136, 128, 96, 72, 64)

MARGIN = 1 / 16
WELL_KNOWN = "\N{RED APPLE}"
MISSING = "\U0010fffe"  # Never a character, so no font has a glyph of it.

NOT_DRAWN = "the font has no picture of it"
NOT_ONE = "the font draws it as several pictures"


def find_font() -> Path:
    """The colour-emoji font of this machine; a FileNotFoundError says how to get one."""
    for folder in map(Path, FONT_FOLDERS):
        for name in FONT_NAMES:
            found = sorted(folder.expanduser().rglob(name))
            if found:
                return found[0]
    if shutil.which("fc-list"):
        listed = subprocess.run(
            ["fc-list", ":color=true:lang=und-zsye", "file"], capture_output=True, text=True
        )
        found = sorted(line.rstrip(": \n") for line in listed.stdout.splitlines())
        if found:
            return Path(found[0])
    raise FileNotFoundError(
        "no colour-emoji font was found; install one (Debian, Ubuntu: apt-get install "
        "fonts-noto-color-emoji) or give the path of a font file"
    )


class EmojiFont:
    """A colour-emoji font that draws single emoji.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no font, or draws no colours.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no font file {path}")
        self._font = self._load()
        self._advance = self._font.getlength(WELL_KNOWN)
        self._blank = self._canvas(MISSING).tobytes()
        apple = np.asarray(self._canvas(WELL_KNOWN).convert("RGBA"), int)
        colours = np.ptp(apple[apple[..., 3] > 0][:, :3], axis=-1)
        if not colours.any():
            raise ValueError(
                f"the font {path} draws no colours; give a colour-emoji font such as "
                "NotoColorEmoji.ttf (Debian: fonts-noto-color-emoji)"
            )

    def _load(self) -> ImageFont.FreeTypeFont:
        for size in SIZES:
            try:
                return ImageFont.truetype(self.path, size)
            except OSError as error:
                problem = error
        raise ValueError(f"the font {self.path} cannot be loaded: {problem}")

    def _canvas(self, text: str) -> Image.Image:
        """`text` on a transparent canvas with room on all sides."""
        size = self._font.size
        canvas = Image.new("RGBA", (2 * size, 2 * size))
        corner = (size // 3, size // 3)
        ImageDraw.Draw(canvas).text(corner, text, font=self._font, embedded_color=True)
        return canvas

    def draw(self, text: str, resolution: int) -> np.ndarray:
        """uint8 [resolution, resolution, 3]: the emoji, centred on white, at the font's scale.

        It lies on a square that leaves a margin around the widest emoji, resized by Lanczos.

        Raises:
            ValueError: the font can't draw `text` as one picture.
        """
        if self._font.getlength(text) > 1.2 * self._advance:
            raise ValueError(NOT_ONE)
        canvas = self._canvas(text)
        if canvas.tobytes() == self._blank:
            raise ValueError(NOT_DRAWN)
        left, top, right, bottom = canvas.getbbox()
        ink = canvas.crop((left, top, right, bottom))
        side = round((1 + 2 * MARGIN) * max(self._advance, ink.width, ink.height))
        # Composited before resizing: the filter then never mixes in colours of transparent pixels.
        square = Image.new("RGBA", (side, side), "white")
        square.alpha_composite(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
        resized = square.convert("RGB").resize((resolution, resolution), Image.Resampling.LANCZOS)
        return np.asarray(resized)
