import numpy as np
import pytest
from scipy import stats

from dalle_jax.metrics.intervals import bootstrap, percent, wilson


@pytest.mark.parametrize("right, n", [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (498, 512)])
def test_wilson_is_scipys(right, n):
    expected = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_solves_its_equation():
    """Its ends are the p with |right/n − p| = z √(p(1−p)/n)."""
    for p in wilson(81, 263):
        assert abs(81 / 263 - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / 263), rel=1e-6)


def test_no_proportion():
    for right, n in ((0, 0), (5, 4), (-1, 4)):
        with pytest.raises(ValueError, match="a proportion needs"):
            wilson(right, n)


def test_bootstrap_of_many_values_is_the_normal_interval():
    values = np.random.default_rng(0).exponential(size=4000)
    low, high = bootstrap(values)
    half = 1.959964 * values.std() / np.sqrt(len(values))
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.1 * half)
    assert (high - low) / 2 == pytest.approx(half, rel=0.08)


def test_bootstrap_covers():
    rng = np.random.default_rng(1)
    intervals = [bootstrap(rng.normal(size=50), seed=k, num_resamples=300) for k in range(300)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.89 < covered < 0.98


def test_bootstrap_resamples_the_samples_of_a_caption_together():
    """Four equal samples of each caption are no more evidence than one."""
    values = np.random.default_rng(2).normal(size=100)
    assert bootstrap(np.tile(values[:, None], 4)) == pytest.approx(bootstrap(values))


def test_bootstrap_of_another_statistic():
    values = np.random.default_rng(3).normal(5, 1, size=400)
    low, high = bootstrap(values, statistic=np.median)
    half = 1.959964 * np.sqrt(np.pi / 2 / 400)  # the median's, for normal data
    assert low < 5 < high and (high - low) / 2 == pytest.approx(half, rel=0.35)


def test_bootstrap_depends_only_on_values_and_seed():
    values = np.arange(30.0)
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4)
    assert bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_bootstrap_of_nothing_or_of_nan():
    with pytest.raises(ValueError, match="at least one caption"):
        bootstrap(np.zeros(0))
    with pytest.raises(ValueError, match="2 of the values are not finite"):
        bootstrap(np.array([1.0, np.nan, np.inf]))


def test_percent():
    assert percent(95, 100) == "95.0 % [88.8, 97.8]"
