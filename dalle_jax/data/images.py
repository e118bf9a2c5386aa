"""Encoded images to uint8 [H, W, 3] arrays, and any size of image to the size of the model.

How values become the 256 levels of a channel:

- 8 bits are levels; 1, 2 and 4 bits are spread over them.
- Of 16 bits (12 in some TIFF files) it is the upper eight.
- Integers of 32 bits are levels where all lie in 0 to 255; an image with others is refused.
- Floats of 0 to 1 are multiplied by 255 and rounded; an image with others is refused.

Transparent pixels lie over white. Colour profiles, gamma and comments are not read.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from dalle_jax.data.image_metadata import separate_metadata, without_avif_exif

# EPS files are programs, for which Pillow starts Ghostscript; WMF files need a program of Windows.
# Of the stubs and of MPEG, Pillow knows only the name. An IPTC record wraps a file of any format.
_EXCLUDED = frozenset(("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC"))

Image.init()
_COMMON = ("JPEG", "PNG", "WEBP", "GIF")
# A file is read by its content, whatever its suffix. Formats that have no signature come last,
# since they might take another's file for theirs; the common ones first, as each is tried in turn.
FORMATS: tuple[str, ...] = tuple(
    sorted(
        (id for id in Image.ID if id not in _EXCLUDED),
        key=lambda id: (Image.OPEN[id][1] is None, (*_COMMON, id).index(id)),
    )
)
IMAGE_SUFFIXES: frozenset[str] = frozenset(
    suffix
    for suffix, id in Image.registered_extensions().items()
    # Pillow reads MPO, several JPEG images in one file, as JPEG.
    if id in FORMATS or id == "MPO"
)

# Formats of which Pillow gives integers up to 65535 in the mode of 32-bit integers.
_SIXTEEN_BITS_IN_32 = ("PPM", "PNG", "JPEG2000")
# Measurements, of which Pillow reads neither unit nor scale.
_WITHOUT_SCALE = ("FITS", "MCIDAS")

# Of formats that Pillow decodes in Python, a microsecond a pixel: a few bytes of a run-length
# coded BMP could otherwise keep a process busy for a minute. No coding packs so many in a byte.
MAX_SLOW_PIXELS = 2**24
MAX_SLOW_RATIO = 1024

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # Tags of TIFF.

UPRIGHT = {  # By EXIF's orientation.
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

RESIZE_FILTERS = {
    name: Image.Resampling[name.upper()] for name in ("box", "bilinear", "bicubic", "lanczos")
}

Result = TypeVar("Result")


class RefusedError(ValueError):
    """An image is refused, whatever its metadata are."""


class Opened(NamedTuple):
    """An image that Pillow has opened and not yet loaded."""

    image: Image.Image
    encoded: bytes
    tags: Any  # of a TIFF; None for other formats
    exif: bytes | None  # from which the orientation is read instead of the image

    def orientation(self) -> int:
        """EXIF's, once the image is loaded; 1 if it can't be read."""
        # EXIF is written by all kinds of software, and is no part of the picture.
        with contextlib.suppress(Exception):
            if self.exif is not None:
                found = Image.Exif()
                found.load(self.exif)
            else:
                found = self.image.getexif() if self.tags is None else self.tags
            return int(found.get(ExifTags.Base.Orientation, 1))
        return 1


def decode(encoded: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of an encoded image: its first frame, turned upright, over white.

    Metadata that Pillow refuses are ignored.

    Raises:
        ValueError: it is no image of `FORMATS`, is torn, has values that no rule scales to 256
            levels, or has more pixels than Pillow considers safe.
    """
    return read(encoded, _upright_rgb)


def read(encoded: bytes, pixels: Callable[[Opened], Result]) -> Result:
    """What `pixels` makes of an encoded image, without its metadata if it fails otherwise.

    Raises:
        ValueError: as `decode` does.
    """
    try:
        encoded = without_avif_exif(encoded)
        try:
            return _open(encoded, None, pixels)
        except RefusedError:
            raise
        except Exception:
            separated = separate_metadata(encoded)
            if separated is None:
                raise
        return _open(*separated, pixels)
    except UnidentifiedImageError as error:
        raise ValueError("unreadable image: its format is none that Pillow reads") from error
    except Exception as error:  # Fed with torn bytes, the decoders raise nearly anything.
        raise ValueError(f"unreadable image: {error}") from error


def _open(encoded: bytes, exif: bytes | None, pixels: Callable[[Opened], Result]) -> Result:
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        width, height = image.size
        if width * height > Image.MAX_IMAGE_PIXELS:
            raise RefusedError(f"{width} × {height} pixels are too many")
        if any(tile[0] in Image.DECODERS for tile in image.tile) and (
            width * height > min(MAX_SLOW_PIXELS, MAX_SLOW_RATIO * len(encoded))
        ):
            raise RefusedError(
                f"{width} × {height} pixels are too many for {image.format}, which Pillow decodes "
                "in Python"
            )
        tags = None
        if image.format == "TIFF":
            # When a TIFF is loaded, Pillow reads and writes all its EXIF: one broken entry would
            # cost the picture. Loading takes the orientation out of the tags.
            tags = dict(_readable(image.tag_v2))
            image.getexif = Image.Exif
        return pixels(Opened(image, encoded, tags, exif))


def _readable(tags: Any) -> Iterator[tuple[int, Any]]:
    for tag in (ExifTags.Base.Orientation, _BITS_PER_SAMPLE, _PHOTOMETRIC):
        with contextlib.suppress(Exception):
            yield tag, tags[tag]


def _upright_rgb(opened: Opened) -> np.ndarray:
    image = opened.image
    transparent = _transparent(image, opened.encoded)
    image.load()
    turn = UPRIGHT.get(opened.orientation())
    turned = turned_image(image, turn)
    rgb = to_rgb(turned) if opened.tags is None else _tiff_rgb(turned, opened.tags)
    if transparent is not None:
        transparent = turned_image(transparent, turn)
        rgb = np.where(np.asarray(transparent)[..., None], np.uint8(255), rgb)
    return rgb


def turned_image(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """The image turned, still of its format."""
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.format = image.format
    return turned


def to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of a Pillow image of any mode; what is transparent becomes white.

    Raises:
        ValueError: its values are integers or floats that no rule scales to 256 levels.
    """
    if image.mode.startswith("I") or image.mode == "F":
        gray = _gray_levels(image, bits=16)
        if isinstance(transparent := image.info.get("transparency"), int):
            gray = np.where(np.asarray(image) == transparent, np.uint8(255), gray)
        return np.repeat(gray[..., None], 3, axis=-1)
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow inverts all CMYK in JPEG, as Adobe writes it; without its mark nothing is inverted.
        image = Image.fromarray(255 - np.asarray(image), "CMYK")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _tiff_rgb(image: Image.Image, tags: Any) -> np.ndarray:
    """`to_rgb` by the tags, which say how many bits an integer has and whether 0 is white."""
    if not image.mode.startswith("I") and image.mode != "F":
        return to_rgb(image)
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    gray = _gray_levels(image, bits)
    if tags.get(_PHOTOMETRIC) == 0:
        gray = 255 - gray
    return np.repeat(gray[..., None], 3, axis=-1)


def _gray_levels(image: Image.Image, bits: int) -> np.ndarray:
    """uint8 [H, W] of an image of integers of more than 8 bits or of floats."""
    values = np.asarray(image)
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # So that NaN is refused too.
            raise RefusedError(
                f"its floats go from {low:.4g} to {high:.4g}; only those of 0 to 1 have a scale"
            )
        return np.rint(values * 255).astype(np.uint8)
    if image.mode.startswith("I;16") and image.format not in _WITHOUT_SCALE:
        return (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    if image.format in _SIXTEEN_BITS_IN_32 and low >= 0 and high < 2**16:
        return (values >> 8).astype(np.uint8)
    if low < 0 or high > 255:
        raise RefusedError(
            f"its integers go from {low} to {high} without a scale; save it with 8 or 16 bits"
        )
    return values.astype(np.uint8)


def _transparent(image: Image.Image, encoded: bytes) -> Image.Image | None:
    """Where a PNG of 16-bit colours has its transparent one; None for all other images.

    Pillow compares that colour, of as many bits as the file has, with the pixels that it has
    converted to 8 bits. Where gray has other levels there, the colour is corrected in `image.info`.
    """
    color = image.info.get("transparency")
    if image.format != "PNG" or not image.tile or not isinstance(color, (int, tuple)):
        return None
    rawmode = image.tile[0].args
    if rawmode in ("L;2", "L;4"):
        bits = int(rawmode[-1])
        levels = 2**bits - 1
        image.info["transparency"] = (color & levels) * (255 // levels)
    elif rawmode in ("L", "RGB"):
        low = np.asarray(color) & 255
        image.info["transparency"] = int(low) if low.ndim == 0 else tuple(low.tolist())
    elif rawmode == "RGB;16B":
        del image.info["transparency"]
        high, low = (_png_bytes(encoded, name) for name in ("RGB;16B", "RGB;16L"))
        return Image.fromarray((high.astype(np.uint16) * 256 + low == np.asarray(color)).all(-1))
    return None


def _png_bytes(encoded: bytes, rawmode: str) -> np.ndarray:
    """The upper bytes of a 16-bit PNG, or the lower ones if it is read as little-endian."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
        image.tile = [image.tile[0]._replace(args=rawmode)]
        return np.asarray(image)


def center_crop_resize(image: np.ndarray, size: int, resize_filter: str = "lanczos") -> np.ndarray:
    """The largest centred square of `image` [H, W, 3], resized to [size, size, 3] antialiased."""
    height, width, _ = image.shape
    if height == width == size:
        return image
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), RESIZE_FILTERS[resize_filter]))
