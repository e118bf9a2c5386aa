"""A sheet of thumbnails of a data set: images that were read, with captions, and refused ones."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dalle_jax.data.images import Opened, decode, read, to_rgb
from dalle_jax.data.report import Report
from dalle_jax.data.source import Source
from dalle_jax.pipelines.images import captioned_grid

SIDE = 144  # pixels of a picture
COLUMNS = 8
SHOWN = 32  # pictures of each kind
MAX_TEXT = 160  # characters under a picture
RED = "#b42318"
Picture = tuple[np.ndarray, str]  # uint8 [SIDE, SIDE, 3], and the text under it


def contact_sheet(
    source: Source, report: Report, encoded: Callable[[str], bytes | None]
) -> Image.Image:
    """Pictures of used items, evenly spread, above those of refused ones.

    Args:
        source: of all items that are used.
        report: of its scan.
        encoded: the image of a refused item, if it has one, by its name in the report.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, SHOWN).astype(int)).tolist()
    used = [_used(source, index) for index in indices]
    num_left_out = sum(map(len, report.left_out.values()))
    refused = list(islice(_refused(report, encoded), SHOWN))
    parts = [
        _heading(f"{report.what}: {len(source)} items are used, of which {len(used)} are shown"),
        _grid(used, "black"),
    ]
    if report.num_skipped or num_left_out:
        text = f"{report.num_skipped} items are refused and {num_left_out} entries are left out"
        parts.append(_heading(f"{text}, of which {len(refused)} are shown"))
    if refused:
        parts.append(_grid(refused, RED))
    width, height = max(part.width for part in parts), sum(part.height for part in parts)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def _used(source: Source, index: int) -> Picture:
    item = source[index]
    captions = item.get("captions") or (item["caption"],)
    more = f" (+{len(captions) - 1})" if len(captions) > 1 else ""
    return fitted(item["image"]), _shortened(captions[0]) + more


def _refused(report: Report, encoded: Callable[[str], bytes | None]) -> Iterator[Picture]:
    """In turns one of each reason; of what is left out, only images."""
    reasons = [_named(reason, names) for reason, names in sorted(report.skipped.items())]
    left_out = [_named(reason, names) for reason, names in sorted(report.left_out.items())]
    for reason, name in _in_turns(reasons):
        image = partly_decoded(encoded(name))
        yield _cross() if image is None else fitted(image), _shortened(f"{reason}: {name}")
    for reason, name in _in_turns(left_out):
        image = partly_decoded(encoded(name))
        if image is not None:
            yield fitted(image), _shortened(f"{reason}: {name}")


def _named(reason: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(reason, name) for name in names[:SHOWN]]


def _in_turns(lists: Iterable[Sequence[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    return filter(None, chain.from_iterable(zip_longest(*lists)))


def partly_decoded(encoded: bytes | None) -> np.ndarray | None:
    """The image, or the readable part of a torn one, or None."""
    if not encoded:
        return None
    for pixels in (decode, lambda torn: read(torn, _torn_rgb)):
        with contextlib.suppress(ValueError):
            return pixels(encoded)
    return None


def _torn_rgb(opened: Opened) -> np.ndarray:
    """uint8 [H, W, 3] of an image at which the decoder failed: the rest is black."""
    try:
        opened.image.load()
    except (OSError, SyntaxError):
        opened.image.tile = []  # Nothing more to load: Pillow then gives what there is.
    return to_rgb(opened.image)


def fitted(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] resized to fit into a grey square [SIDE, SIDE, 3]."""
    picture = Image.fromarray(image)
    scale = SIDE / max(picture.size)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    filter = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    square = Image.new("RGB", (SIDE, SIDE), "#e4e4e4")
    left, top = ((SIDE - length) // 2 for length in size)
    square.paste(picture.resize(size, filter), (left, top))
    return np.asarray(square)


def _cross() -> np.ndarray:
    square = Image.new("RGB", (SIDE, SIDE), "#e4e4e4")
    draw = ImageDraw.Draw(square)
    for line in ((0, 0, SIDE, SIDE), (0, SIDE, SIDE, 0)):
        draw.line(line, "#b0b0b0", 2)
    return np.asarray(square)


def _grid(pictures: Sequence[Picture], color: str) -> Image.Image:
    images, texts = zip(*pictures)
    colors = [color] * len(texts)
    return captioned_grid(np.stack(images), texts, columns=COLUMNS, side=SIDE, colors=colors)


def _heading(text: str) -> Image.Image:
    font = ImageFont.load_default(16)
    left, _, right, _ = font.getbbox(text)
    image = Image.new("RGB", (int(right - left) + 16, 32), "white")
    ImageDraw.Draw(image).text((8, 8), text, "black", font)
    return image


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
