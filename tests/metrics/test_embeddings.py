import numpy as np
import pytest

from dalle_jax.metrics.embeddings import prior_cosines


def test_cosines_are_their_definitions_and_the_gain_is_paired():
    angle = np.linspace(0.2, 1.0, 200)
    image = np.stack([np.ones(200), np.zeros(200)], 1)
    predicted = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    text = np.stack([np.cos(angle + 0.1), -np.sin(angle + 0.1)], 1)
    cosines = prior_cosines(predicted, image, text)
    np.testing.assert_allclose(cosines["cosine_image"].value, np.cos(angle).mean())
    np.testing.assert_allclose(cosines["cosine_text"].value, np.cos(2 * angle + 0.1).mean())
    np.testing.assert_allclose(cosines["cosine_baseline"].value, np.cos(angle + 0.1).mean())
    gain = np.cos(angle) - np.cos(angle + 0.1)
    np.testing.assert_allclose(cosines["gain"].value, gain.mean())
    # The gain hardly varies, however much the cosines do.
    width = lambda name: cosines[name].high - cosines[name].low
    assert cosines["gain"].low > 0 and width("gain") < width("cosine_image") / 5


def test_embeddings_of_other_captions_are_refused():
    with pytest.raises(ValueError, match="not of the same captions"):
        prior_cosines(np.ones((3, 2)), np.ones((3, 2)), np.ones((4, 2)))
