import numpy as np
import pytest

from dalle_jax.metrics.preprocess import RESIZES, Preprocessing


@pytest.mark.parametrize("resize", RESIZES)
def test_one_color_stays_that_color(resize):
    image = np.full((40, 50, 3), (0, 128, 255), np.uint8)
    x = Preprocessing(resize)(image)
    assert x.shape == (299, 299, 3)
    assert x.dtype == np.float32
    white = 1.0 if resize == "pytorch-fid" else 127 / 128  # of 255, by each tool's own scale
    np.testing.assert_allclose(x[..., 2], white, atol=1e-6)
    assert x[..., 0] == pytest.approx(-1, abs=1e-6)


def test_where_the_pixels_lie():
    # A ramp of 2 pixels: TensorFlow 1 starts at the first pixel and stays at the last for half the
    # image; torch spreads evenly about the middle.
    ramp = np.zeros((2, 2, 3), np.uint8)
    ramp[:, 1] = 255
    tensorflow = Preprocessing("torch-fidelity")(ramp)[0, :, 0] * 128 + 128
    np.testing.assert_allclose(tensorflow[:150], 255 * np.arange(150) * 2 / 299, atol=1e-3)
    np.testing.assert_allclose(tensorflow[150:], 255, atol=1e-3)
    torch = (Preprocessing("pytorch-fid")(ramp)[0, :, 0] + 1) * 127.5
    np.testing.assert_allclose(torch + torch[::-1], 255, atol=1e-3)


def test_shrinking_averages_only_where_it_is_antialiased():
    stripes = np.zeros((598, 598, 3), np.uint8)
    stripes[:, ::2] = 255
    middle = slice(20, -20)
    assert np.ptp(Preprocessing("clean-fid")(stripes)[middle, middle]) < 0.02
    assert Preprocessing("torch-fidelity")(stripes).min() > 0.99  # every other column is white


def test_crop_and_squeeze():
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 15:45] = 255
    assert Preprocessing(fit="crop")(image).min() > 0.99
    assert Preprocessing(fit="squeeze")(image).min() == -1


def test_round_trips():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    plain = Preprocessing()(image)
    np.testing.assert_array_equal(Preprocessing(round_trip="png")(image), plain)
    assert np.abs(Preprocessing(round_trip="jpeg:75")(image) - plain).max() > 0.1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resize": "bilinear"}, "known are torch-fidelity, pytorch-fid, clean-fid"),
        ({"fit": "pad"}, "known are squeeze, crop"),
        ({"round_trip": "jpeg"}, "with a quality"),
        ({"round_trip": "jpeg:101"}, "with a quality"),
    ],
)
def test_what_there_is_not(options, said):
    with pytest.raises(ValueError, match=said):
        Preprocessing(**options)
