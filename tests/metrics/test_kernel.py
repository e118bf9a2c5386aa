import numpy as np
import pytest

from dalle_jax.metrics import kernel
from dalle_jax.metrics.jackknife import jackknife_error
from dalle_jax.metrics.kernel import (
    cmmd,
    gaussian_kernel,
    kernel_inception_distance,
    mmd2,
    mmd2_left_out,
    polynomial_kernel,
)


def pairwise(x, y, k, unbiased):
    """MMD² written out pair by pair."""

    def mean(a, b, leave_out):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (leave_out and i == j)]
        return np.mean([k(a[i], b[j]) for i, j in pairs])

    return mean(x, x, unbiased) + mean(y, y, unbiased) - 2 * mean(x, y, False)


@pytest.mark.parametrize("unbiased", [True, False])
def test_mmd_is_the_sum_over_pairs(monkeypatch, unbiased):
    monkeypatch.setattr(kernel, "BLOCK", 5)  # so that blocks of unlike sizes are summed
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)), rng.normal(0.5, 1, (9, 4))
    cubic = pairwise(x, y, lambda a, b: (a @ b / 4 + 1) ** 3, unbiased)
    assert mmd2(x, y, polynomial_kernel, unbiased=unbiased) == pytest.approx(cubic, rel=1e-12)
    rbf = pairwise(x, y, lambda a, b: np.exp(-((a - b) ** 2).sum() / 200), unbiased)
    assert mmd2(x, y, gaussian_kernel, unbiased=unbiased) == pytest.approx(rbf, rel=1e-9)


def test_kid_of_equal_distributions_is_zero_within_its_error():
    rng = np.random.default_rng(1)
    values = [
        mmd2(
            rng.normal(size=(100, 16)), rng.normal(size=(100, 16)), polynomial_kernel, unbiased=True
        )
        for _ in range(200)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert min(values) < 0  # unbiased: it must go below zero


def test_subsets_cover_the_distance_of_all():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(400, 8)), rng.normal(0.4, 1, (400, 8))
    found = kernel_inception_distance(x, y, num_subsets=60, subset_size=200)
    everything = mmd2(x, y, polynomial_kernel, unbiased=True)
    assert abs(found.mean - everything) < 3 * found.std / np.sqrt(60)
    assert found == kernel_inception_distance(x, y, num_subsets=60, subset_size=200)


def test_the_standard_error_is_the_spread_over_samples():
    rng = np.random.default_rng(3)
    real = rng.normal(size=(300, 8))
    samples = [rng.normal(0.4, 1, (200, 8)) for _ in range(40)]
    spread = np.std([mmd2(x, real, polynomial_kernel, unbiased=True) for x in samples])
    told = np.mean([jackknife_error(mmd2_left_out(x, real)) for x in samples])
    assert told == pytest.approx(spread, rel=0.35)


def test_cmmd_of_directions():
    # All x are one direction, all y another at an angle of 60°: |x − y|² = 1, so that the biased
    # MMD² is 2 − 2 exp(−1/200). Lengths do not count.
    x = np.tile([[2.0, 0.0]], (5, 1))
    y = np.tile([[0.5, np.sqrt(3) / 2]], (7, 1)) * 3
    assert cmmd(x, y) == pytest.approx(1000 * (2 - 2 * np.exp(-1 / 200)), rel=1e-9)
    assert cmmd(x, x) == pytest.approx(0, abs=1e-9)


def test_too_few_and_unlike_features_are_refused():
    with pytest.raises(ValueError, match="at least 1000"):
        kernel_inception_distance(np.zeros((10, 4)), np.zeros((10, 4)))
    with pytest.raises(ValueError, match="compared"):
        mmd2(np.zeros((10, 4)), np.zeros((10, 5)), polynomial_kernel, unbiased=True)
    with pytest.raises(ValueError, match="can't be normalized"):
        cmmd(np.zeros((2, 4)), np.ones((2, 4)))
