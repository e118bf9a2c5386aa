import numpy as np
import pytest

from dalle_jax.metrics.clip_score import clip_score, r_precision
from dalle_jax.metrics.inception_score import inception_score


def test_inception_score_of_certain_and_of_undecided_classifiers():
    # Certain, and each of 8 classes alike: p(y|x) is a point and p(y) uniform, so the score is 8.
    certain = np.tile(np.eye(8) * 200, (20, 1))
    assert inception_score(certain, num_splits=4, seed=None) == pytest.approx((8.0, 0.0))
    assert inception_score(np.zeros((40, 8)), 4) == pytest.approx((1.0, 0.0))


def test_inception_score_by_hand():
    logits = np.log([[0.5, 0.5], [0.9, 0.1]])
    p, mean = np.exp(logits), np.array([0.7, 0.3])
    expected = np.exp((p * np.log(p / mean)).sum(1).mean())
    assert inception_score(logits, 1)[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="10 splits"):
        inception_score(logits)


def test_the_published_clip_scores():
    # At 60° the cosine is ½, at 180° it is −1.
    images = np.array([[2.0, 0.0], [1.0, 0.0]])
    captions = np.array([[1.0, np.sqrt(3)], [-3.0, 0.0]])
    np.testing.assert_allclose(clip_score(images, captions, "clip_cosine"), [0.5, -1])
    np.testing.assert_allclose(clip_score(images, captions, "clip_score_x100"), [50, -100])
    np.testing.assert_allclose(clip_score(images, captions, "clipscore_hessel"), [1.25, 0])
    with pytest.raises(ValueError, match="known are clip_cosine"):
        clip_score(images, captions, "clip")
    with pytest.raises(ValueError, match="pairs"):
        clip_score(images, captions[:1], "clip_cosine")


def test_r_precision_of_perfect_and_of_blind_embeddings():
    rng = np.random.default_rng(0)
    captions = rng.normal(size=(400, 16))
    texts = [f"caption {i}" for i in range(400)]
    assert r_precision(captions, captions, texts, 100).all()
    # An image that knows nothing finds its caption once in ten candidates.
    blind = r_precision(rng.normal(size=(400, 16)), captions, texts, 10).mean()
    assert abs(blind - 0.1) < 4 * np.sqrt(0.09 / 400)


def test_r_precision_takes_no_caption_of_the_same_text_for_wrong():
    # Two captions, each many times: a duplicate of its own must not be among the candidates.
    captions = np.tile(np.eye(2), (20, 1))
    texts = ["a circle", "a star"] * 20
    assert r_precision(captions, captions, texts, num_candidates=2).all()
    with pytest.raises(ValueError, match="there are 2"):
        r_precision(captions, captions, texts, num_candidates=3)
