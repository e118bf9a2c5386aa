"""Output images: PIL images whose files hold a record, and grids with captions."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, PngImagePlugin

from dalle_jax.pipelines import text

MARGIN = 6  # pixels around each picture of a grid
FONT_SIZE = 11  # pixels, of captions in grids


class GeneratedImage(Image.Image):
    """A PIL image whose PNG file holds the record of how it was made, as text chunks."""

    record: Mapping[str, str]

    @classmethod
    def from_array(cls, array: np.ndarray, record: Mapping[str, str]) -> "GeneratedImage":
        """An image of uint8 [H, W, 3] with its record."""
        image = Image.fromarray(array)
        image.__class__ = cls  # PIL has no public way to make an image of a subclass
        image.record = dict(record)
        return image

    def save(self, fp, format=None, **params) -> None:
        """PIL's `save`; a PNG contains the record unless `pnginfo` is given."""
        params.setdefault("pnginfo", png_text(self.record))
        super().save(fp, format, **params)


def shared_record(records: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The record of several images in one picture; different values are joined by " | "."""
    values = {name: dict.fromkeys(record[name] for record in records) for name in records[0]}
    return {name: " | ".join(different) for name, different in values.items()}


def png_text(record: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """A record as a PNG's text chunks (iTXt: any Unicode)."""
    info = PngImagePlugin.PngInfo()
    for key, value in record.items():
        # A lone surrogate is no text and can't be written.
        info.add_itxt(key, value.encode("utf-8", "replace").decode())
    return info


def to_uint8(images, maker: str = "the model") -> np.ndarray:
    """float [..., H, W, 3] in [−1, 1] → uint8, rounded to the nearest.

    Raises:
        ValueError: a value is NaN or infinite; the message names `maker`.
    """
    images = np.asarray(images)
    if not np.isfinite(images).all():
        raise ValueError(
            f"{maker} sampled values that are not finite: check its weights, and settings far from "
            "its defaults, such as guidance_scale"
        )
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def tile(images: np.ndarray, columns: int) -> np.ndarray:
    """uint8 [N, H, W, 3] → one picture with `columns` images per row, filled up with white."""
    missing = -len(images) % columns
    images = np.pad(images, [(0, missing), (2, 2), (2, 2), (0, 0)], constant_values=255)
    return rearrange(images, "(r c) h w d -> (r h) (c w) d", c=columns)


def captioned_grid(
    images: np.ndarray,
    captions: Sequence[str],
    *,
    columns: int = 6,
    side: int = 128,
    colors: Sequence[str] | None = None,
) -> Image.Image:
    """Images uint8 [N, H, W, 3], each `side` pixels large above its wrapped caption.

    `colors` are those of the captions; black by default.
    """
    wrapped = [text.wrap(caption, side + MARGIN, FONT_SIZE) for caption in captions]
    line_height = 15
    text_height = line_height * max(map(len, wrapped))
    cell = (side + 2 * MARGIN, side + 2 * MARGIN + text_height)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * cell[0], rows * cell[1]), "white")
    for i, (image, lines) in enumerate(zip(images, wrapped)):
        x, y = (i % columns) * cell[0] + MARGIN, (i // columns) * cell[1] + MARGIN
        # Nearest-neighbour enlargement shows the generated pixels.
        enlarged = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
        grid.paste(enlarged, (x, y))
        for n, line in enumerate(lines):
            fill = colors[i] if colors else "black"
            text.draw(grid, (x, y + side + 2 + n * line_height), line, fill, FONT_SIZE)
    return grid


def check_image_file(path: Path) -> None:
    """Refuse a name that PIL can't save an image under, and warn of one that holds no record.

    Raises:
        ValueError: it does not end as an image file does.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"--out={path} does not end as an image file does; give FILE.png")
    if kind != "PNG":
        warnings.warn(
            f"{path} will not hold the record of how it was drawn, which only a PNG has: it can't "
            "be drawn again with --from_png",
            stacklevel=2,
        )


def save_images(
    images: Sequence[GeneratedImage], captions: Sequence[str], path: Path
) -> Iterator[str]:
    """Save one image under `path`, or several numbered ones and a grid of them; what was written.

    Args:
        images: of one size.
        captions: one of each image.
        path: of the only image, or of the grid.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(images) == 1:
        images[0].save(path)
        yield str(path)
        return
    for i, image in enumerate(images):
        numbered = path.with_name(f"{path.stem}_{i}{path.suffix}")
        image.save(numbered)
        yield str(numbered)
    grid = captioned_grid(np.stack([np.asarray(image) for image in images]), captions)
    record = shared_record([image.record for image in images])
    GeneratedImage.from_array(np.asarray(grid), record).save(path)
    yield f"{path} (all of them)"
