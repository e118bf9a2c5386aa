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


def bicubic_matrix(length):
    """Pillow's antialiased bicubic as a matrix [299, length], float64, from its definition.

    Keys' kernel with a = −½, stretched by the factor of shrinking, cut at the image's edge and
    normalized to a sum of 1.
    """
    scale = length / 299
    stretch = max(scale, 1.0)
    matrix = np.zeros((299, length))
    for i in range(299):
        center = (i + 0.5) * scale
        first = max(int(center - 2 * stretch + 0.5), 0)
        last = min(int(center + 2 * stretch + 0.5), length)
        x = np.abs((np.arange(first, last) + 0.5 - center) / stretch)
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
        matrix[i, first:last] = weights / weights.sum()
    return matrix


@pytest.mark.parametrize("size", [(32, 32), (299, 299), (64, 48), (333, 420)])
def test_clean_fids_bicubic_by_its_definition(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    rows, columns = (bicubic_matrix(length) for length in size)
    expected = np.einsum("yh,xw,hwc->yxc", rows, columns, image, optimize=True).clip(0, 255)
    levels = Preprocessing("clean-fid")(image) * 128 + 128
    np.testing.assert_allclose(levels, expected, rtol=0, atol=1e-3)


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
