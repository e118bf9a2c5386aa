"""How values of any depth become the 256 levels of a channel, and transparency becomes white."""

import struct

import numpy as np
import pytest
from PIL import Image, features

from dalle_jax.data.images import decode, to_rgb
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

RAMP = np.tile(np.arange(0, 256, 4), (8, 1))


def gray_of(encoded_image):
    pixels = decode(encoded_image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("kind", ["TIFF", "tiff_lzw"])
def test_tiff_of_any_number_keeps_its_levels(dtype, kind):
    values = RAMP / 255 if dtype == "float32" else RAMP
    settings = {"compression": kind} if kind != "TIFF" else {}
    file = encoded(Image.fromarray(values.astype(dtype)), "TIFF", **settings)
    np.testing.assert_array_equal(gray_of(file), RAMP)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_of_sixteen_bits_the_upper_eight_count(kind):
    values = np.array([[0, 255, 256, 1000], [40_000, 65_279, 65_280, 65_535]], np.uint16)
    np.testing.assert_array_equal(gray_of(encoded(Image.fromarray(values), kind)), values >> 8)


@pytest.mark.parametrize(
    ("file", "levels"),
    [
        (b"P5 2 1 65535\n" + struct.pack(">2H", 256, 65535), [1, 255]),
        (b"P5 2 1 4095\n" + struct.pack(">2H", 2048, 4095), [128, 255]),
        (b"P5 2 1 65535\n" + struct.pack(">2H", 3, 200), [0, 0]),
        (b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.25, 1), [64, 255]),
        (tiff(bytes([0x80, 0x0F, 0xFF]), 2, 1, 12), [128, 255]),
        (tiff(struct.pack("<2H", 0, 65535), 2, 1, 16, photometric=0), [255, 0]),
        (tiff(struct.pack("<2h", 7, 255), 2, 1, 16, sample_format=2), [7, 255]),
        (tiff(struct.pack("<2I", 7, 255), 2, 1, 32), [7, 255]),
        (tiff(struct.pack("<2f", 0, 1), 2, 1, 32, sample_format=3), [0, 255]),
        (tiff(struct.pack("<2f", 0, 1), 2, 1, 32, sample_format=3, photometric=0), [255, 0]),
        (tiff(bytes([10, 200]), 2, 1, 8, photometric=0), [245, 55]),
    ],
)
def test_gray_of_other_depths_is_scaled_by_its_rule(file, levels):
    np.testing.assert_array_equal(gray_of(file)[0], levels)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (tiff(struct.pack("<2i", 0, 256), 2, 1, 32, sample_format=2), "go from 0 to 256"),
        (tiff(struct.pack("<2i", -1, 5), 2, 1, 32, sample_format=2), "go from -1 to 5"),
        (tiff(struct.pack("<2h", -5, 9), 2, 1, 16, sample_format=2), "go from -5 to 9"),
        (tiff(struct.pack("<2f", 0, 255), 2, 1, 32, sample_format=3), "floats go from 0 to 255"),
        (tiff(struct.pack("<2f", -0.1, 1), 2, 1, 32, sample_format=3), "floats go from -0.1 to 1"),
        (tiff(struct.pack("<2f", 0, np.nan), 2, 1, 32, sample_format=3), "to nan"),
        (tiff(struct.pack("<2f", 0, np.inf), 2, 1, 32, sample_format=3), "to inf"),
        (tiff(struct.pack("<2d", 0, 1), 2, 1, 64, sample_format=3), "none that Pillow reads"),
    ],
)
def test_gray_without_a_scale_is_refused_by_name(file, said):
    with pytest.raises(ValueError, match=said):
        decode(file)


def fits(bits, data):
    cards = [("SIMPLE", "T"), ("BITPIX", bits), ("NAXIS", 2), ("NAXIS1", 2), ("NAXIS2", 1)]
    text = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in cards) + "END".ljust(80)
    return text.ljust(2880).encode() + data.ljust(2880, b"\0")


def test_measurements_are_read_where_they_are_levels_only():
    assert gray_of(fits(8, bytes([3, 250])))[0].tolist() == [3, 250]
    assert gray_of(fits(16, struct.pack(">2H", 3, 250)))[0].tolist() == [3, 250]
    with pytest.raises(ValueError, match="go from 3 to 900"):
        decode(fits(16, struct.pack(">2H", 3, 900)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("clear", [0, 1])
def test_the_transparent_gray_of_a_png_is_white_and_no_other(bits, clear):
    top = 2**bits - 1
    values = np.array([[0, 1, top]])
    marked = png(values, GRAY, bits, before=[png_chunk(b"tRNS", struct.pack(">H", clear))])
    levels = values[0] >> 8 if bits == 16 else values[0] * (255 // top)
    expected = np.where(values[0] == clear, 255, levels)
    np.testing.assert_array_equal(gray_of(marked)[0], expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_compared_with_all_its_bits(bits):
    color = [1, 2, 3] if bits == 8 else [256, 512, 768]
    values = np.array([[color, [color[0] + 1, *color[1:]]]])
    marked = png(values, RGB, bits, before=[png_chunk(b"tRNS", struct.pack(">3H", *color))])
    other = values[0, 1] >> (bits - 8)
    np.testing.assert_array_equal(decode(marked)[0], [[255, 255, 255], other])


def test_bits_of_a_transparent_value_beyond_the_files_depth_do_not_count():
    marked = png(np.array([[5, 6]]), GRAY, 8, before=[png_chunk(b"tRNS", b"\x09\x05")])
    assert gray_of(marked)[0].tolist() == [255, 6]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("color", [GRAY_ALPHA, RGB_ALPHA])
def test_alpha_of_any_depth_lies_over_white(bits, color):
    top = 2**bits - 1
    channels = 1 if color == GRAY_ALPHA else 3
    values = np.array([[[0] * channels + [a] for a in (0, top // 2, top)]])
    np.testing.assert_array_equal(decode(png(values, color, bits))[0, :, 0], [255, 128, 0])


@pytest.mark.parametrize(
    ("clear", "expected"), [(b"\0\xff", [255, 10]), (b"\x80\xff", [132, 10]), (b"\0", [255, 10])]
)
def test_a_palettes_transparency_lies_over_white(clear, expected):
    palette = [png_chunk(b"PLTE", bytes([9, 9, 9, 10, 10, 10])), png_chunk(b"tRNS", clear)]
    image = png(np.array([[0, 1]]), PALETTE, 8, before=palette)
    np.testing.assert_allclose(gray_of(image)[0], expected, atol=1)


@pytest.mark.parametrize(
    ("pixel", "bits", "shown"),
    [  # by the tag: no alpha, alpha that the colours were multiplied with, alpha beside them
        ([50, 20, 100, 127], 8, ([50, 20, 100], [177, 147, 227], [152, 137, 177])),
        ([50, 20, 100, 127], 16, ([50, 20, 100], [177, 147, 227], [152, 137, 177])),
        ([50, 127], 8, (50, 178, 153)),
    ],
)
@pytest.mark.parametrize("tag", [0, 1, 2])
def test_the_last_channel_of_a_tiff_is_what_its_tag_says(pixel, bits, shown, tag):
    data = (np.array(pixel) * (257 if bits == 16 else 1)).astype("<u2" if bits == 16 else "u1")
    extra = [(338, 3, 1, struct.pack("<HH", tag, 0))]
    channels = len(pixel)
    kind = {"channels": channels, "photometric": 2 if channels == 4 else 1, "extra": extra}
    np.testing.assert_allclose(
        decode(tiff(data.tobytes(), 1, 1, bits, **kind))[0, 0], shown[tag], atol=1
    )


@pytest.mark.parametrize(
    ("photometric", "pixel", "expected"),
    [
        (5, [255, 0, 0, 0], [0, 255, 255]),
        (5, [0, 0, 0, 255], [0, 0, 0]),
        (6, [128, 128, 128], [128, 128, 128]),
        (6, [76, 85, 255], [255, 0, 0]),
        (8, [255, 0, 0], [255, 255, 255]),
        (8, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_other_colour_spaces_of_tiff_become_rgb(photometric, pixel, expected):
    if photometric == 8 and not features.check("littlecms2"):
        pytest.skip("this Pillow has no colour management")
    file = tiff(bytes(pixel), 1, 1, 8, channels=len(pixel), photometric=photometric)
    np.testing.assert_allclose(decode(file)[0, 0], expected, atol=2)


def test_cmyk_in_jpeg_is_inverted_only_under_adobes_mark():
    cyan = Image.new("CMYK", (16, 16), (200, 0, 0, 0))
    marked = encoded(cyan, "JPEG", quality=100)
    np.testing.assert_allclose(decode(marked)[0, 0], [55, 255, 255], atol=2)
    inverted = encoded(Image.new("CMYK", (16, 16), (55, 255, 255, 255)), "JPEG", quality=100)
    at = inverted.index(b"Adobe") - 4
    unmarked = inverted[:at] + inverted[at + 16 :]
    np.testing.assert_allclose(decode(unmarked)[0, 0], [55, 255, 255], atol=2)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "LA", "La", "RGBa", "PA"],
)
def test_every_mode_of_pillow_becomes_rgb(mode):
    white = Image.new("RGB", (3, 2), "white")
    through = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    image = (white.convert(through) if through else white).convert(mode)
    pixels = to_rgb(image)
    assert pixels.shape == (2, 3, 3) and pixels.dtype == np.uint8
    assert pixels.min() >= 253


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_in_either_order_are_read(mode):
    order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    data = np.array([256, 65535], order).tobytes()
    assert to_rgb(Image.frombytes(mode, (2, 1), data))[0, :, 0].tolist() == [1, 255]


@pytest.mark.parametrize(
    ("mode", "value"), [("I", 70_000), ("I", -1), ("F", 1.5), ("F", -0.5), ("F", float("nan"))]
)
def test_an_image_in_memory_without_a_scale_is_refused_too(mode, value):
    with pytest.raises(ValueError, match=r"its (integers|floats) go from"):
        to_rgb(Image.new(mode, (2, 2), value))
