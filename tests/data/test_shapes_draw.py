import dataclasses

import numpy as np
import pytest

from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import SHAPES, Object, Scene, SceneSettings, sample_scene

PLAIN = (0, 0, 0)


def picture(shape, cx=0.5, cy=0.5, radius=0.2, color="red", background="white"):
    one = Object(shape, color, "large", "center", cx, cy, radius, PLAIN)
    return Scene((one,), background, PLAIN)


def coverage(image):
    """How much of each pixel is red on white, from the blue channel."""
    return (248.0 - image[..., 2]) / (248 - 38)


@pytest.mark.parametrize("resolution", [32, 50, 64, 256])
def test_size_type_and_range(resolution):
    image = draw(picture("circle"), resolution)
    assert image.shape == (resolution, resolution, 3) and image.dtype == np.uint8
    assert tuple(image[0, 0]) == (248, 248, 248)
    assert tuple(image[resolution // 2, resolution // 2]) == (214, 32, 38)


@pytest.mark.parametrize("resolution", [32, 64, 128])
@pytest.mark.parametrize(
    "shape, area",
    [  # in units of radius², from the shapes' geometry
        ("circle", np.pi * 0.95**2),
        ("square", (2 * 0.86) ** 2),
        ("triangle", 2 * 1.84 / 2),
        ("diamond", 2),
        ("cross", 2 * (2 * 0.72) - 0.72**2),
        ("ring", np.pi * (1 - 0.25)),
    ],
)
def test_area(shape, area, resolution):
    # Three subpixel positions: antialiasing keeps the area wherever the shape lies.
    for shift in (0, 0.3, 0.7):
        image = draw(picture(shape, cx=0.5 + shift / resolution, radius=0.21), resolution)
        drawn = coverage(image).sum() / resolution**2
        assert drawn == pytest.approx(area * 0.21**2, rel=0.035)


@pytest.mark.parametrize("shape", SHAPES)
def test_position_and_extent(shape):
    resolution = 128
    covered = coverage(draw(picture(shape, cx=0.37, cy=0.61, radius=0.2), resolution)) > 0.5
    rows, columns = np.nonzero(covered)
    left, right = columns.min() / resolution, (columns.max() + 1) / resolution
    top, bottom = rows.min() / resolution, (rows.max() + 1) / resolution
    assert (left + right) / 2 == pytest.approx(0.37, abs=0.01)  # all are symmetric
    assert left >= 0.17 - 0.01 and right <= 0.57 + 0.01
    assert top >= 0.41 - 0.01 and bottom <= 0.81 + 0.01
    assert right - left > 0.8 * 0.4


@pytest.mark.parametrize("shape", SHAPES)
def test_mirror_symmetry(shape):
    covered = coverage(draw(picture(shape, radius=0.22), 64))
    assert np.abs(covered - covered[:, ::-1]).max() <= 0.14  # one of eight subpixels at the edge


def test_the_same_scene_gives_the_same_bytes():
    scene = sample_scene(np.random.default_rng(3), SceneSettings((0, 0, 1.0)))
    assert draw(scene, 32).tobytes() == draw(scene, 32).tobytes()


def test_the_resolution_changes_the_pixels_only():
    """A scene at 64 pixels, averaged by 2 × 2, is the scene at 32."""
    for k in range(20):
        scene = sample_scene(np.random.default_rng(k), SceneSettings((0, 0, 1.0)))
        fine = draw(scene, 64).astype(float).reshape(32, 2, 32, 2, 3).mean((1, 3))
        assert np.abs(fine - draw(scene, 32)).mean() < 0.8


def test_tints_show():
    scene = picture("square")
    one = dataclasses.replace(scene.objects[0], tint=(-10, 5, 12))
    image = draw(dataclasses.replace(scene, objects=(one,), background_tint=(6, -6, 0)), 32)
    assert tuple(image[16, 16]) == (204, 37, 50)
    assert tuple(image[0, 0]) == (254, 242, 248)
