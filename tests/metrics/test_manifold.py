import numpy as np
import pytest

from dalle_jax.metrics import manifold as module
from dalle_jax.metrics.manifold import manifold, squared_radii


def by_definition(fake, real, k, k_density):
    """The four of the papers' formulas, from the full matrices of distances."""

    def distances(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    def radii(a, k):
        return np.sort(distances(a, a), axis=1)[:, k]

    across = distances(fake, real)
    inside = across <= radii(real, k_density)[None]
    return {
        "precision": (across <= radii(real, k)[None]).any(1).mean(),
        "recall": (across <= radii(fake, k)[:, None]).any(0).mean(),
        "density": inside.sum() / (k_density * len(fake)),
        "coverage": inside.any(0).mean(),
    }


def test_against_the_definitions(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 16)
    rng = np.random.default_rng(0)
    fake, real = rng.normal(0.5, 0.8, (70, 6)), rng.normal(size=(90, 6))
    found = manifold(fake, real)
    for name, value in by_definition(fake, real, 3, 5).items():
        assert found[name].mean() == pytest.approx(value, abs=1e-12), name
        assert value > 0


def test_radii_on_a_line():
    np.testing.assert_allclose(squared_radii(np.array([[0.0], [1.0], [3.0]]), 1), [1, 1, 4])


def test_equal_and_apart():
    points = np.random.default_rng(1).normal(size=(40, 3))
    same = manifold(points, points)
    assert all(same[name].all() for name in ("precision", "recall", "coverage"))
    assert not any(values.any() for values in manifold(points + 100, points).values())


def test_fakes_that_all_show_one_image_have_precision_and_no_coverage():
    real = np.random.default_rng(2).normal(size=(60, 3))
    fake = np.repeat(real[:1], 60, 0)
    found = manifold(fake, real)
    assert found["precision"].all()
    assert found["recall"].mean() < 0.1
    assert found["coverage"].mean() < 0.5


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="too few"):
        manifold(np.zeros((5, 2)), np.zeros((50, 2)))
