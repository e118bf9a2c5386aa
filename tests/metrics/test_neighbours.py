import numpy as np
import pytest
import scipy.stats

from dalle_jax.metrics import neighbours
from dalle_jax.metrics.neighbours import (
    Neighbours,
    data_copying,
    feature_neighbours,
    picture_cells,
    pixel_neighbours,
)
from dalle_jax.pipelines.images import captioned_grid


def brute_force(queries, train, k, distance):
    table = np.array([[distance(x, y) for y in train] for x in queries])
    order = np.argsort(table, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(table, order, 1)


@pytest.mark.parametrize("k", [1, 4, 23])
@pytest.mark.parametrize("cosine", [False, True])
def test_features_against_every_pair(k, cosine, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 5)
    monkeypatch.setattr(neighbours, "QUERY_BLOCK", 3)
    rng = np.random.default_rng(0)
    queries, train = rng.normal(size=(7, 6)), rng.normal(size=(23, 6))
    cosine_distance = lambda x, y: 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    euclidean = lambda x, y: np.linalg.norm(x - y)
    indices, distances = brute_force(queries, train, k, cosine_distance if cosine else euclidean)
    found = feature_neighbours(queries, train, k, cosine=cosine)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-12)


def items(images):
    return [{"image": image, "caption": f"caption {i}"} for i, image in enumerate(images)]


def test_pixels_are_exact_and_a_copy_has_distance_0(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 4)
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, (11, 8, 8, 3), np.uint8)
    queries = rng.integers(0, 256, (3, 8, 8, 3), np.uint8)
    queries[1] = train[6]
    found = pixel_neighbours(queries, items(train), 3)
    rms = lambda x, y: np.sqrt(np.mean((x.astype(float) - y.astype(float)) ** 2))
    indices, distances = brute_force(queries, train, 3, rms)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    assert found.indices[1, 0] == 6 and found.distances[1, 0] == 0.0


def test_training_images_are_cropped_and_resized():
    wide = np.zeros((16, 24, 3), np.uint8)
    wide[:, 4:20] = 200
    found = pixel_neighbours(np.full((1, 8, 8, 3), 200, np.uint8), items([wide]), 1)
    assert found.distances[0, 0] == 0.0


def test_data_copying_is_the_z_score_of_mann_whitney():
    rng = np.random.default_rng(2)
    generated, held_out = rng.normal(0.0, 1, 80), rng.normal(0.3, 1, 60)
    u = scipy.stats.mannwhitneyu(generated, held_out).statistic
    expected = (u - 80 * 60 / 2) / np.sqrt(80 * 60 * 141 / 12)
    assert data_copying(generated, held_out) == pytest.approx(expected, rel=1e-12)
    assert data_copying(held_out, generated) == pytest.approx(-expected, rel=1e-12)
    assert data_copying(held_out, held_out) == 0.0
    assert data_copying(np.zeros(100), np.ones(100)) < -10


def test_the_picture_shows_the_most_suspicious_first():
    train = items(np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((8, 8, 3), np.uint8))
    images = np.full((3, 8, 8, 3), 9, np.uint8)
    found = Neighbours(np.array([[0, 1], [4, 3], [2, 0]]), np.array([[5.0, 6], [0, 1.25], [3, 4]]))
    cells, labels, columns = picture_cells(images, ["a", "b", "c"], found, train, shown=2)
    assert columns == 3
    assert labels == [
        "generated: b",
        "0 · train 4: caption 4",
        "1.25 · train 3: caption 3",
        "generated: c",
        "3 · train 2: caption 2",
        "4 · train 0: caption 0",
    ]
    np.testing.assert_array_equal(cells[:, 0, 0, 0], [9, 4, 3, 9, 2, 0])
    picture = captioned_grid(cells, labels, columns=columns, side=64)
    assert picture.width == 3 * (64 + 12)


def test_mistakes_give_a_sentence():
    features = np.ones((4, 3))
    with pytest.raises(ValueError, match="k = 5 is not in 1 … 4"):
        feature_neighbours(features, features, 5)
    with pytest.raises(ValueError, match=r"features \[4, 3\] and \[4, 2\]"):
        feature_neighbours(features, features[:, :2])
    with pytest.raises(ValueError, match=r"\[S, S\]|uint8 \[N, S, S, 3\]"):
        pixel_neighbours(np.zeros((1, 8, 6, 3), np.uint8), [])
    with pytest.raises(ValueError, match="both needed"):
        data_copying(np.ones(3), np.ones(0))
