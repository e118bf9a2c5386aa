import io
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from dalle_jax.data.images import center_crop_resize, decode
from tests.data.encoded import encoded


def test_modes_become_rgb():
    red = Image.new("RGB", (3, 2), (255, 0, 0))
    for mode in ("RGB", "P", "RGBA", "CMYK"):
        kind = "TIFF" if mode == "CMYK" else "PNG"
        image = decode(encoded(red.convert(mode), kind))
        assert image.shape == (2, 3, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.broadcast_to([255, 0, 0], (2, 3, 3)))
    gray = Image.fromarray(np.full((2, 3), 40_000, np.uint16))
    np.testing.assert_array_equal(decode(encoded(gray)), np.full((2, 3, 3), 40_000 // 256))
    np.testing.assert_array_equal(decode(encoded(Image.new("L", (1, 1), 9))), np.full((1, 1, 3), 9))


def test_what_is_transparent_is_white():
    half = Image.new("RGBA", (1, 1), (0, 0, 0, 51))
    assert abs(int(decode(encoded(half))[0, 0, 0]) - 204) <= 1
    np.testing.assert_array_equal(
        decode(encoded(Image.new("RGBA", (2, 2), (9, 9, 9, 0)))), np.full((2, 2, 3), 255)
    )


def test_turned_upright():
    image = Image.new("RGB", (8, 4))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90° clockwise to show.
    upright = decode(encoded(image, exif=exif))
    assert upright.shape == (8, 4, 3)
    assert (upright[0, 3] == 255).all() and upright.sum() == 3 * 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_torn_images_are_errors(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    whole = encoded(noise, kind)
    assert decode(whole).shape == (40, 40, 3)
    for length in (0, 1, 10, len(whole) // 2):
        with pytest.raises(ValueError, match="unreadable image"):
            decode(whole[:length])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_images_are_read_or_errors(data):
    bytes_ = bytearray(encoded(Image.new("RGB", (9, 9), (1, 2, 3))))
    for _ in range(data.draw(st.integers(1, 4))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode(bytes(bytes_)).dtype == np.uint8
    except ValueError as error:
        assert "unreadable image" in str(error)


def test_a_bomb_is_an_error(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(ValueError, match="10 × 10 pixels are too many"):
        decode(encoded(Image.new("RGB", (10, 10))))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
def test_the_formats_of_cameras_and_the_web_are_read(kind):
    assert decode(encoded(Image.new("RGB", (9, 8)), kind)).shape == (8, 9, 3)


def test_an_eps_file_is_no_image_and_starts_no_program(monkeypatch):
    started = []

    def start(command, *args, **settings):
        started.append(command)
        raise OSError("no program is to be started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    program = encoded(Image.new("RGB", (9, 8)), "EPS")
    with pytest.raises(ValueError, match="unreadable image"):
        decode(program)
    assert not started
    with Image.open(io.BytesIO(program)) as image, pytest.raises(OSError, match="to be started"):
        image.load()
    assert "gs" in started[0]


def test_the_centre_is_kept():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 77
    np.testing.assert_array_equal(center_crop_resize(image, 10), image[:, 10:20])
    np.testing.assert_array_equal(
        center_crop_resize(image.transpose(1, 0, 2), 5), np.full((5, 5, 3), 77)
    )


def test_reducing_averages():
    checkers = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.uint8)
    image = np.repeat(checkers[..., None], 3, axis=-1)
    np.testing.assert_array_equal(center_crop_resize(image, 4, "box"), np.full((4, 4, 3), 100))
