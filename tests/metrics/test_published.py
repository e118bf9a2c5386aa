"""Images are decoded as `Image.open(file).convert("RGB")` does, which all the tools call."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from dalle_jax.metrics.published import decode, unread
from tests.data.encoded import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    encoded,
    png,
    png_chunk,
    tiff,
)

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 4)).astype(np.uint8)
OPAQUE = Image.fromarray(NOISE[..., :3])
CLEAR = Image.fromarray(NOISE)
DEEP = NOISE.astype(np.uint16) * 256 + 7


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def cmyk():
    return encoded(Image.fromarray(NOISE, "CMYK"), "JPEG")


FILES = {
    "PNG": (encoded(OPAQUE), []),
    "JPEG": (encoded(OPAQUE, "JPEG"), []),
    "CMYK JPEG": (cmyk(), []),
    "GIF": (encoded(OPAQUE, "GIF"), []),
    "PNG with alpha": (encoded(CLEAR), ["transparency discarded"]),
    "PNG with alpha of 255": (encoded(OPAQUE.convert("RGBA")), []),
    "WebP with alpha": (encoded(CLEAR, "WEBP", lossless=True), ["transparency discarded"]),
    "TIFF with alpha": (encoded(CLEAR, "TIFF"), ["transparency discarded"]),
    "gray with alpha": (png(NOISE[..., :2], GRAY_ALPHA, 8), ["transparency discarded"]),
    "16 bits with alpha": (png(DEEP, RGB_ALPHA, 16), ["transparency discarded"]),
    "a transparent colour": (
        png(
            np.array([[[1, 2, 3], [4, 5, 6]]]),
            RGB,
            8,
            before=[png_chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))],
        ),
        ["transparency discarded"],
    ),
    "a transparent entry of a palette": (
        png(
            np.array([[0, 1]]),
            PALETTE,
            8,
            before=[png_chunk(b"PLTE", bytes(range(6))), png_chunk(b"tRNS", b"\x80")],
        ),
        ["transparency discarded"],
    ),
    "gray of 16 bits": (png(DEEP[..., 0], GRAY, 16), ["16-bit gray clipped to 255"]),
    "dark gray of 16 bits": (png(DEEP[..., 0] % 256, GRAY, 16), []),
    "colours of 16 bits": (png(DEEP[..., :3], RGB, 16), []),
    "a turned PNG": (encoded(OPAQUE, exif=exif(6)), ["EXIF orientation ignored"]),
    "a turned JPEG": (encoded(OPAQUE, "JPEG", exif=exif(8)), ["EXIF orientation ignored"]),
    "an upright JPEG": (encoded(OPAQUE, "JPEG", exif=exif(1)), []),
    "a turned TIFF": (encoded(OPAQUE, "TIFF", exif=exif(6)), []),
    "integers of 32 bits": (tiff(struct.pack("<2i", 3, 200), 2, 1, 32, sample_format=2), []),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("file", "differences"), FILES.values(), ids=FILES.keys())
def test_pixels_are_pillows_and_their_differences_are_named(file, differences):
    found = decode(file)
    with Image.open(io.BytesIO(file)) as image:
        np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert list(found.differences) == differences


@pytest.mark.parametrize("value", [0.5, 1.0, 255.0, 300.0])
def test_values_that_the_tools_would_clip_are_refused(value):
    file = tiff(struct.pack("<2f", 0, value), 2, 1, 32, sample_format=3)
    with pytest.raises(ValueError, match=r"would clip its values of mode F|only those of 0 to 1"):
        decode(file)


def test_broken_metadata_cost_no_picture_here_either():
    text = png_chunk(b"zTXt", b"parameters\0\0no zlib")
    broken = png(NOISE[..., :3], RGB, 8, before=[text, png_chunk(b"eXIf", b"b'Exif'")])
    np.testing.assert_array_equal(decode(broken).pixels, NOISE[..., :3])


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ("torch-fidelity", ["b.JPEG.txt.webp", "c.webp", "sub/a.png", "sub/d.JPG"]),
        ("pytorch-fid", ["a.PNG", "b.JPEG.txt.webp.AVIF", "sub/a.png", "sub/d.JPG"]),
        ("clean-fid", ["e.TIF", "f.avif"]),
    ],
)
def test_files_that_a_tool_would_not_read_are_known(tool, names):
    assert unread(tool, [*names, "x.png", "y.jpg", "z.jpeg"]) == names
