import numpy as np
import pytest
from scipy import stats

from dalle_jax.metrics.frechet import frechet_distance, jackknife
from dalle_jax.metrics.kernel import mmd2, mmd2_left_out, polynomial_kernel
from dalle_jax.metrics.paired import mcnemar, paired, paired_distances, sign_flips
from dalle_jax.metrics.statistics import Gaussian, fit_gaussian


@pytest.mark.parametrize("b, a", [(0, 0), (0, 1), (3, 9), (9, 3), (7, 7), (40, 12), (900, 700)])
def test_mcnemar_is_scipys_binomial_test(b, a):
    expected = stats.binomtest(b, a + b).pvalue if a + b else 1.0
    assert mcnemar(b, a) == pytest.approx(expected, rel=1e-9)


def test_right_and_wrong_are_tested_exactly():
    a = np.array([1, 1, 0, 0, 0, 0, 0, 1.0])
    b = np.array([1, 0, 1, 1, 1, 1, 1, 1.0])
    found = paired(a, b)
    assert found.test == "exact McNemar"
    assert found.p == pytest.approx(mcnemar(5, 1))
    assert found.difference == pytest.approx(4 / 8)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert paired(b, a).difference == pytest.approx(-0.5)


def test_captions_without_a_score_are_left_out():
    a, b = np.array([1, np.nan, 0, 1.0]), np.array([0, 1, np.nan, 1.0])
    assert paired(a, b) == paired(a[[0, 3]], b[[0, 3]])
    with pytest.raises(ValueError, match="no caption with a score in both"):
        paired(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="3 captions × 1 seeds and of 4 × 1 are not pairs"):
        paired(np.ones(3), np.ones(4))


def test_several_seeds_are_flipped_by_caption():
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    found = paired(a, a + 0.5 + 0.1 * noise)
    assert found.test == "sign flips" and found.p < 1e-3
    low, high = found.interval
    assert low < found.difference < high and low > 0.4


def test_sign_flips_agree_with_the_t_test_on_normal_differences():
    differences = np.random.default_rng(4).normal(0.15, 1, size=200)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flips(differences) == pytest.approx(expected, abs=0.015)


def test_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(1)
    ps = [sign_flips(rng.normal(size=20), seed=k) for k in range(60)]
    assert stats.kstest(ps, "uniform").pvalue > 0.01


REFERENCE = Gaussian(np.zeros(6), np.eye(6))


def two_models(rng, n=200, better=0.0):
    """Features of two models' images of the same captions and noise, alike but for a little."""
    shared = rng.normal(size=(n, 6)) + 0.5
    a, b = (shared + 0.3 * rng.normal(size=shared.shape) for _ in range(2))
    return a, b - better


def by_frechet(a, b):
    found = [jackknife(features, REFERENCE, seed=7) for features in (a, b)]
    return paired_distances(*(f.value for f in found), *(f.left_out for f in found))


def test_p_of_two_distances_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(2)
    ps = [by_frechet(*two_models(rng, n=60)).p for _ in range(80)]
    assert stats.kstest(ps, "uniform").pvalue > 0.01


def test_the_same_captions_distinguish_distances_that_intervals_can_not():
    a, b = two_models(np.random.default_rng(3), better=0.06)
    found = by_frechet(a, b)
    assert found.difference == pytest.approx(
        frechet_distance(fit_gaussian(b), REFERENCE) - frechet_distance(fit_gaussian(a), REFERENCE)
    )
    assert found.test == "jackknife" and found.p < 0.01
    low, high = found.interval
    assert low < found.difference < high < 0
    single = [jackknife(features, REFERENCE) for features in (a, b)]
    assert single[0].interval[0] < single[1].interval[1], "alone, the intervals overlap"
    # The order of captions has no part in it but for which are together in a group.
    shuffled = by_frechet(a, b[np.random.default_rng(0).permutation(len(b))])
    assert shuffled.p > 10 * found.p


def test_a_kernel_distance_is_compared_likewise():
    a, b = two_models(np.random.default_rng(4), better=0.1)
    real = np.random.default_rng(5).normal(size=(150, 6))
    values = [mmd2(x, real, polynomial_kernel, unbiased=True) for x in (a, b)]
    left_out = [mmd2_left_out(x, real) for x in (a, b)]
    found = paired_distances(*values, *left_out)
    assert found.difference < 0 and found.p < 0.01
    # Student's t of the pseudovalues G Δ − (G − 1) Δ₋ᵍ, whose mean is Δ but for the bias.
    delta = np.subtract(*left_out[::-1])
    expected = stats.ttest_1samp(-9 * (delta - delta.mean()) + found.difference, 0)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_nothing_differs_or_nothing_is_paired():
    assert paired_distances(1.0, 1.0, [2.0, 3.0], [2.0, 3.0]).p == 1
    with pytest.raises(ValueError, match="10 and 9 groups"):
        paired_distances(1.0, 1.0, np.ones(10), np.ones(9))
