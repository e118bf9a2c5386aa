import io
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from dalle_jax.data.shapes.captions import descriptive, short
from dalle_jax.data.shapes.draw import draw
from dalle_jax.data.shapes.scene import (
    BACKGROUNDS,
    COLORS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    SceneSettings,
    sample_scene,
)
from dalle_jax.data.shapes.statements import STATEMENT_KINDS, Statement
from dalle_jax.metrics.oracle import check, score
from dalle_jax.metrics.scene_reading import connected_components, oklab, read_scene

COUNTS = {"easy": (1.0,), "pairs": (0.4, 0.6), "full": (0.25, 0.4, 0.35)}
VALUES = {
    "count": (1, 2, 3),
    "shape": SHAPES,
    "color": tuple(COLORS),
    "size": tuple(SIZES),
    "place": tuple(PLACES.values()),
    "relation": RELATIONS,
    "background": tuple(BACKGROUNDS),
}


def scenes(config, n, novel=False):
    settings = SceneSettings(COUNTS[config], novel=novel)
    return [sample_scene(np.random.default_rng([77, k]), settings) for k in range(n)]


@pytest.mark.parametrize("resolution", [32, 64])
@pytest.mark.parametrize("config", COUNTS)
def test_reads_rendered_scenes(config, resolution):
    drawn = scenes(config, 500) + scenes(config, 50, novel=True)
    images = [draw(scene, resolution) for scene in drawn]
    result = score([descriptive(scene).text for scene in drawn], images)
    right, made = np.sum(list(result.statements.values()), axis=0)
    assert made >= 550 * 6
    assert right / made >= 0.995
    for kind, (kind_right, kind_made) in result.statements.items():
        assert kind_right / kind_made >= 0.99, kind
    assert result.all_right.mean() >= 0.99
    assert result.objects[1] == sum(len(scene.objects) for scene in drawn)


@pytest.mark.parametrize("resolution", [32, 64])
def test_positions_and_radii_are_those_of_the_scene(resolution):
    for scene in scenes("full", 100):
        for seen in read_scene(draw(scene, resolution)).objects:
            drawn = min(scene.objects, key=lambda o: abs(o.cx - seen.cx) + abs(o.cy - seen.cy))
            tolerance = 0.5 / resolution  # half a pixel
            assert abs(seen.cx - drawn.cx) < tolerance and abs(seen.cy - drawn.cy) < tolerance
            assert seen.radius == pytest.approx(drawn.radius, rel=0.08)


@pytest.mark.parametrize("resolution", [32, 64])
def test_says_no_to_altered_captions(resolution):
    rng = np.random.default_rng(0)
    flagged = {kind: [] for kind in STATEMENT_KINDS}
    named = []
    for scene in scenes("full", 250):
        reading = read_scene(draw(scene, resolution))
        statements = descriptive(scene).statements
        for k, s in enumerate(statements):
            others = [value for value in VALUES[s.kind] if value != s.value]
            false = replace(s, value=others[rng.integers(len(others))])
            held = check((*statements[:k], false, *statements[k + 1 :]), reading)
            flagged[s.kind].append(not all(held))
            if len(scene.objects) == 1:
                named.append(held == [n != k for n in range(len(statements))])
    for kind, results in flagged.items():
        assert len(results) > 50 and np.mean(results) >= 0.995, kind
    assert np.mean(named) >= 0.99  # of one object the wrong statement, and no other, is wrong


def test_swapped_attributes_are_wrong():
    """A red circle and a blue star are no blue circle and red star."""
    for scene in scenes("full", 200):
        if len(scene.objects) != 2 or scene.objects[0].color == scene.objects[1].color:
            continue
        a, b = scene.objects
        if a.shape == b.shape:
            continue
        held = check(
            (
                Statement("color", b.color, 0),
                Statement("shape", a.shape, 0),
                Statement("color", a.color, 1),
                Statement("shape", b.shape, 1),
            ),
            draw(scene, 32),
        )
        assert sum(held) == 2


def test_the_order_of_mention_does_not_matter():
    for scene in scenes("full", 50):
        back = replace(scene, objects=scene.objects[::-1])
        assert all(check(descriptive(back).text, draw(scene, 32)))


def test_missing_and_additional_objects():
    scene = next(s for s in scenes("full", 50) if len(s.objects) == 3)
    fewer = replace(scene, objects=scene.objects[:2])
    count, *rest = check(short(fewer).text, draw(scene, 32))
    assert not count and all(rest[:6])  # one too many: only the count is wrong
    held = check(short(scene).text, draw(fewer, 32))
    assert not held[0] and sum(held[1:]) == 6  # nothing said of the third is right


@pytest.mark.parametrize("resolution", [32, 64])
def test_blank_and_noise_hold_no_objects(resolution):
    rng = np.random.default_rng(0)
    for _ in range(50):
        blank = np.full((resolution, resolution, 3), rng.integers(256, size=3), np.uint8)
        assert read_scene(blank).objects == ()
        noise = rng.integers(256, size=blank.shape, dtype=np.uint8)
        assert read_scene(noise).objects == ()
    held = check("a large red circle", blank)
    assert held == [False] * 4


def test_specks_are_ignored_and_further_objects_are_not():
    scene = scenes("easy", 1)[0]
    image = draw(scene, 32).copy()
    spot = np.s_[:3, :3] if scene.objects[0].cx > 0.5 else np.s_[:3, -3:]
    image[spot] = (36, 72, 205) if scene.objects[0].color != "blue" else (214, 32, 38)
    assert all(check(descriptive(scene).text, image))


def noise(image):
    rng = np.random.default_rng(image.sum())
    return np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8)


def blur(image):
    return ndimage.gaussian_filter(image.astype(float), (0.5, 0.5, 0)).clip(0, 255).astype(np.uint8)


def jpeg(image):
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=90)
    return np.asarray(Image.open(encoded))


@pytest.mark.parametrize(
    ("damage", "resolution", "least"),
    [(noise, 32, 0.99), (noise, 64, 0.99), (blur, 32, 0.99), (blur, 64, 0.99), (jpeg, 64, 0.98)],
)
def test_survives_slight_damage(damage, resolution, least):
    right = [
        held
        for scene in scenes("full", 120)
        for held in check(descriptive(scene).text, damage(draw(scene, resolution)))
    ]
    assert np.mean(right) >= least


def test_what_resembles_no_shape_has_none():
    image = np.full((64, 64, 3), 248, np.uint8)
    image[30:33, 6:58] = (214, 32, 38)  # a bar
    (bar,) = read_scene(image).objects
    assert bar.shape is None and bar.color == "red"


def test_a_patch_between_two_colors_is_two_objects():
    """A circle that is half red and half blue is no red circle."""
    image = np.full((32, 32, 3), 248, np.uint8)
    image[8:24, 8:16], image[8:24, 16:24] = (214, 32, 38), (36, 72, 205)
    assert len(read_scene(image).objects) == 2


def test_components_are_of_one_value_and_numbered_from_the_top_left():
    values = np.array([[0, 2, 2, 0], [1, 2, 1, 1], [1, 0, 1, 2], [1, 1, 1, 0]])
    numbered = [[0, 1, 1, 0], [2, 1, 2, 2], [2, 0, 2, 3], [2, 2, 2, 0]]
    assert connected_components(values).tolist() == numbered
    diagonal = connected_components(np.eye(3, dtype=int))  # corners do not connect
    assert diagonal.tolist() == np.diag([1, 2, 3]).tolist()


def test_oklab_of_the_primaries():
    # Ottosson, https://bottosson.github.io/posts/oklab/ and CSS Color 4's examples.
    primaries = np.array([(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    expected = [
        (1.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        (0.62796, 0.22486, 0.12585),
        (0.86644, -0.23389, 0.17950),
        (0.45201, -0.03246, -0.31153),
    ]
    np.testing.assert_allclose(oklab(primaries), expected, atol=1e-4)


def test_scores_count_right():
    red, blue = (
        next(s for s in scenes("easy", 200) if s.objects[0].color == color)
        for color in ("red", "blue")
    )
    result = score([short(red).text, short(red).text], [draw(red, 32), draw(blue, 32)])
    one, other = red.objects[0], blue.objects[0]
    assert result.statements["count"] == (2, 2)
    assert result.statements["color"] == (1, 2)
    assert result.statements["shape"] == (1 + (one.shape == other.shape), 2)
    assert result.statements["size"] == (1 + (one.size == other.size), 2)
    assert "relation" not in result.statements
    assert result.objects == (1, 2)
    assert result.all_right.tolist() == [True, False]


def test_bad_input():
    with pytest.raises(ValueError, match="uint8 images"):
        read_scene(np.zeros((32, 32, 3), np.float32))
    with pytest.raises(ValueError, match="square images of at least 24"):
        read_scene(np.zeros((32, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="1 captions can't be scored on 2 images"):
        score(["a large red circle"], np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="can't be read as statements"):
        score(["a nice circle"], np.zeros((1, 32, 32, 3), np.uint8))


def test_is_quick():
    images = [draw(scene, 32) for scene in scenes("full", 100)]
    read_scene(images[0])
    start = time.process_time()
    for image in images:
        read_scene(image)
    assert (time.process_time() - start) / len(images) < 0.02  # 2 ms on an idle core
