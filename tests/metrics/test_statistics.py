import numpy as np
import pytest

from dalle_jax.metrics.statistics import Moments, fit_gaussian


def streamed(features, batch_size):
    moments = Moments(features.shape[1])
    for start in range(0, len(features), batch_size):
        moments.add(features[start : start + batch_size])
    return moments.gaussian()


def test_moments_are_numpys_whatever_the_batch_size_and_order():
    rng = np.random.default_rng(0)
    # Far from zero and narrow: sums of float32 would lose the covariance.
    features = (1e3 + rng.normal(size=(500, 16)) @ rng.normal(size=(16, 16))).astype(np.float32)
    exact = np.cov(features.astype(np.float64), rowvar=False)
    for batch_size in (1, 7, 64, 500):
        for order in (np.arange(500), rng.permutation(500)):
            found = streamed(features[order], batch_size)
            np.testing.assert_allclose(found.mean, features.mean(0, np.float64), rtol=1e-12)
            np.testing.assert_allclose(found.covariance, exact, rtol=1e-9, atol=1e-9)
            assert found.n == 500


def test_nan_and_too_few_are_refused():
    with pytest.raises(ValueError, match="features of 1 images are not finite"):
        fit_gaussian(np.array([[0.0], [np.nan], [1.0]]))
    with pytest.raises(ValueError, match="at least 2"):
        fit_gaussian(np.zeros((1, 3)))
