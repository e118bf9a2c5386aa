import io
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from dalle_jax.data.images import center_crop_resize, decode
from tests.data.encoded import encoded


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_torn_images_are_errors(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    whole = encoded(noise, kind)
    assert decode(whole).shape == (40, 40, 3)
    for length in (0, 1, 10, len(whole) // 2):
        with pytest.raises(ValueError, match="unreadable image"):
            decode(whole[:length])


@given(st.data())
@settings(max_examples=150)
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


def test_the_crop_is_central():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 77
    for turned in (image, image.transpose(1, 0, 2)):
        assert (center_crop_resize(turned, 10) == 77).all()
        assert (center_crop_resize(turned, 5) == np.full((5, 5, 3), 77)).all()


def test_reducing_averages():
    checkers = (np.indices((8, 8)).sum(0) % 2 * 200).astype(np.uint8)
    image = np.repeat(checkers[..., None], 3, axis=-1)
    np.testing.assert_array_equal(center_crop_resize(image, 4, "box"), np.full((4, 4, 3), 100))
