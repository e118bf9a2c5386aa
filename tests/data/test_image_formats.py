"""Which formats are read, and that broken metadata never cost a sound picture."""

import io
import random
import struct
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from dalle_jax.data.images import FORMATS, IMAGE_SUFFIXES, decode
from tests.data.encoded import encoded, png, png_chunk

RED = Image.new("RGB", (24, 16), (255, 0, 0))
RED_PIXELS = np.full((16, 24, 3), 0) + np.array([255, 0, 0])
RAW_RED = (RED_PIXELS, 2, 8)


def test_suffixes_are_those_of_the_installed_pillow_but_for_programs_and_stubs():
    assert {".jpg", ".jfif", ".png", ".webp", ".gif", ".tif", ".bmp", ".ppm"} <= IMAGE_SUFFIXES
    assert {".avif", ".jp2", ".j2k", ".qoi", ".dds", ".tga", ".psd", ".mpo"} <= IMAGE_SUFFIXES
    for suffix in (".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".grib", ".mpg", ".txt", ""):
        assert suffix not in IMAGE_SUFFIXES
    assert not {"EPS", "WMF", "PDF", "HDF5", "IPTC"} & set(FORMATS)


LOSSLESS = ["PNG", "BMP", "DIB", "TIFF", "PPM", "TGA", "QOI", "SGI", "PCX", "DDS", "JPEG2000", "IM"]
AVIF = pytest.param(
    "AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
)
LOSSY = ["JPEG", "MPO", "WEBP", AVIF, "ICO", "GIF"]


@pytest.mark.filterwarnings("ignore:IM image format")
@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_keep_their_pixels(kind):
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(noise), kind)), noise)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_nearly_keep_them(kind):
    settings = {"sizes": [RED.size]} if kind == "ICO" else {}
    assert np.abs(decode(encoded(RED, kind, **settings)).astype(int) - RED_PIXELS).max() <= 3


@pytest.mark.parametrize("kind", ["PBM", "MSP", "XBM"])
def test_formats_of_black_and_white_are_read(kind):
    bits = Image.fromarray(np.eye(16, dtype=np.uint8) * 255).convert("1")
    pixels = decode(encoded(bits, "PPM" if kind == "PBM" else kind))
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(bits) * 255)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", AVIF, "MPO"])
def test_of_several_frames_the_first_is_read(kind):
    more = [Image.new("RGB", (24, 16), color) for color in ("lime", "blue")]
    frames = encoded(RED, kind, save_all=True, append_images=more)
    assert np.abs(decode(frames).astype(int) - RED_PIXELS).max() <= 3


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", b"%PDF-1.4", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_image_says_so_the_same_way_each_time(data):
    for _ in range(2):
        with pytest.raises(ValueError) as error:
            decode(data)
        assert str(error.value) == "unreadable image: its format is none that Pillow reads"


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


CORNER = np.zeros((4, 8, 3), np.uint8)
CORNER[0, 0] = 255
CORNER[0, 1] = 128


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "MPO"])
def test_all_orientations_are_turned_upright_as_pillow_does(orientation, kind):
    if kind == "MPO":
        file = encoded(Image.fromarray(CORNER), "JPEG", exif=exif(orientation), quality=100)
    else:
        settings = {"lossless": True} if kind == "WEBP" else {}
        file = encoded(Image.fromarray(CORNER), kind, exif=exif(orientation), **settings)
    with Image.open(io.BytesIO(file)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decode(file), expected)


XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
RAW = exif(6).tobytes()
RAW = zlib.compress(b"\nexif\n%8d\n%s\n" % (len(RAW), RAW.hex().encode()))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"zTXt", b"Raw profile type exif\0\0" + RAW),
        (b"iTXt", b"XML:com.adobe.xmp" + b"\0" * 5 + XMP),
    ],
)
def test_the_orientation_in_xmp_or_in_imagemagicks_text_counts_as_for_pillow(kind, content):
    assert decode(png(*RAW_RED, before=[png_chunk(kind, content)])).shape == (24, 16, 3)


BIG = bytes(1_500_000)
BROKEN_CHUNKS = {
    "EXIF that is text": png_chunk(b"eXIf", b"b'Exif\\x00\\x00II*'"),
    "EXIF that is empty": png_chunk(b"eXIf", b""),
    "EXIF that ends at once": png_chunk(b"eXIf", b"II*\0\x08\0\0\0\x05"),
    "EXIF with another check sum": png_chunk(b"eXIf", b"II*\0\x08\0\0\0", crc=0),
    "a large colour profile": png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(BIG)),
    "a colour profile that can't be unpacked": png_chunk(b"iCCP", b"icc\0\0no zlib"),
    "an unknown compression of a profile": png_chunk(b"iCCP", b"icc\0\x07xx"),
    "a colour profile without a name": png_chunk(b"iCCP", b""),
    "a large compressed text": png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(BIG)),
    "a compressed text that can't be unpacked": png_chunk(b"zTXt", b"parameters\0\0no zlib"),
    "an unknown compression of a text": png_chunk(b"zTXt", b"parameters\0\x09xx"),
    "a large international text": png_chunk(
        b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"a" + BIG)
    ),
    "an international text that ends at once": png_chunk(b"iTXt", b"prompt\0\1"),
    "a text with another check sum": png_chunk(b"tEXt", b"prompt\0red", crc=7),
    "a text without a key": png_chunk(b"tEXt", b"no zero byte"),
    "an empty text": png_chunk(b"tEXt", b""),
    "a short gamma": png_chunk(b"gAMA", b"\0"),
    "short chromaticities": png_chunk(b"cHRM", b"\0\0\0"),
    "a short sRGB": png_chunk(b"sRGB", b""),
    "a short resolution": png_chunk(b"pHYs", b"\0\0"),
    "a resolution of 0": png_chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
    "an animation of 0 frames": png_chunk(b"acTL", struct.pack(">II", 0, 0)),
    "an animation that is cut": png_chunk(b"acTL", b"\0"),
    "a frame that is cut": png_chunk(b"fcTL", b"\0\0"),
    "a private chunk with another check sum": png_chunk(b"prVt", b"x", crc=1),
    "many texts": png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000))) * 80,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
@pytest.mark.parametrize("place", ["before", "after"])
def test_broken_chunks_of_a_png_cost_nothing_but_themselves(chunk, place):
    np.testing.assert_array_equal(decode(png(*RAW_RED, **{place: [chunk]})), RED_PIXELS)


def test_a_png_whose_text_is_refused_is_still_turned_upright():
    turned = png_chunk(b"eXIf", exif(6).tobytes()[6:])
    broken = BROKEN_CHUNKS["a large compressed text"]
    assert decode(png(*RAW_RED, before=[turned, broken])).shape == (24, 16, 3)


def test_broken_pixels_of_a_png_are_refused_whatever_its_texts_are():
    whole = png(*RAW_RED, before=[BROKEN_CHUNKS["a large compressed text"]])
    at = whole.index(b"IDAT") + 8
    with pytest.raises(ValueError, match="unreadable image"):
        decode(whole[:at] + b"\xff\xff" + whole[at + 2 :])


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


BROKEN_SEGMENTS = {
    "EXIF that is text": segment(0xE1, b"Exif\0\0b'Exif'"),
    "EXIF that is empty": segment(0xE1, b"Exif\0\0"),
    "a colour profile without its number": segment(0xE2, b"ICC_PROFILE\0"),
    "parts of a colour profile that are not there": segment(0xE2, b"ICC_PROFILE\0\x01\x09x"),
    "an index of further images that is cut": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x03"),
    "an index of further images that is empty": segment(0xE2, b"MPF\0"),
    "a Photoshop record that is cut": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0"),
    "a short Adobe segment": segment(0xEE, b"Adobe"),
    "a short JFIF segment": segment(0xE0, b"JFIF\0"),
    "an empty segment": segment(0xE5, b""),
    "a comment that is no text": segment(0xFE, b"\xff\xfe\0"),
    "XMP that is no XML": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<\xff"),
}


@pytest.mark.parametrize("data", BROKEN_SEGMENTS.values(), ids=BROKEN_SEGMENTS.keys())
def test_broken_segments_of_a_jpeg_cost_nothing_but_themselves(data):
    whole = encoded(RED, "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # As warnings are errors where a user sets it so.
        np.testing.assert_array_equal(decode(whole[:2] + data + whole[2:]), decode(whole))


def rich_exif():
    tags = exif(6)
    tags[0x010F], tags[0x0110], tags[0x011A] = "Maker", "Model", 72.0
    tags.get_ifd(0x8769)[0x9201] = -1.5
    tags.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    return tags.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", AVIF, "TIFF", "MPO"])
@pytest.mark.filterwarnings("ignore")
def test_no_byte_of_exif_costs_the_picture(kind):
    settings = {"save_all": True, "append_images": [RED]} if kind == "MPO" else {}
    whole = encoded(RED, kind, exif=rich_exif(), **settings)
    assert decode(whole).shape == (24, 16, 3)
    start = whole.index(b"Maker\0") - (60 if kind != "TIFF" else 0)
    end = start + 120
    chance = random.Random(1)
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            damaged[chance.randrange(start, end)] = chance.randrange(256)
        assert sorted(decode(bytes(damaged)).shape) == [3, 16, 24]


@pytest.mark.parametrize("kind", [AVIF])
def test_the_orientation_of_avif_is_the_containers(kind):
    """Its EXIF has an orientation too, which decoders have to pass over."""
    whole = encoded(RED, kind, exif=rich_exif())
    assert decode(whole).shape == (24, 16, 3)
    assert decode(whole.replace(b"irot\x03", b"irot\x00")).shape == (16, 24, 3)


def run_length_bmp(width, height, data=b"\x03\x01\0\1"):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 2, 0)
    palette = bytes([0, 0, 0, 0, 0, 0, 255, 0])
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (run_length_bmp(8_000_000, 9), "BMP"),
        (b"qoif" + struct.pack(">IIBB", 8_000, 8_000, 3, 0) + b"\xfd" * 99, "QOI"),
    ],
)
def test_a_small_file_of_a_format_decoded_in_python_keeps_no_process_busy(file, kind):
    before = time.process_time()
    with pytest.raises(ValueError, match=rf"too many for {kind}, which Pillow decodes in Python"):
        decode(file)
    assert time.process_time() - before < 2
    small = decode(run_length_bmp(3, 1))
    np.testing.assert_array_equal(small, [[[255, 0, 0]] * 3])


@pytest.mark.filterwarnings("ignore")
def test_a_bomb_with_a_broken_text_stays_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(ValueError, match=r"pixels are too many|decompression bomb"):
        decode(png(*RAW_RED, before=[BROKEN_CHUNKS["a large compressed text"]]))
