"""Encoded images to uint8 [H, W, 3] arrays, and any size of image to the size of the model."""

import io

import numpy as np
from PIL import Image, ImageOps

# Of the formats that Pillow knows, those that it reads by itself: an EPS file is a program, for
# which it starts Ghostscript. A file is told by its content, whatever its suffix.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

RESIZE_FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def decode(encoded: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of an encoded image: its first frame, turned upright, over white.

    Raises:
        ValueError: it is no image of `FORMATS`, is torn, or has more pixels than Pillow holds to
            be safe.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
            if width * height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"{width} × {height} pixels are too many")
            return to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # Fed with torn bytes, the decoders raise nearly anything.
        raise ValueError(f"unreadable image: {error}") from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of a Pillow image of any mode; what is transparent becomes white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        gray = np.asarray(image, np.uint32) >> 8
        return np.repeat(gray.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def center_crop_resize(image: np.ndarray, size: int, resize_filter: str = "lanczos") -> np.ndarray:
    """The largest centred square of `image` [H, W, 3], resized to [size, size, 3] antialiased."""
    height, width, _ = image.shape
    if height == width == size:
        return image
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), RESIZE_FILTERS[resize_filter]))
