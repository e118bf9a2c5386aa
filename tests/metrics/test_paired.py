import numpy as np
import pytest
from scipy import stats

from dalle_jax.metrics.paired import mcnemar, paired, sign_flips


@pytest.mark.parametrize("b, a", [(0, 0), (0, 1), (3, 9), (9, 3), (7, 7), (40, 12), (900, 700)])
def test_mcnemar_is_scipys_binomial_test(b, a):
    expected = stats.binomtest(b, a + b).pvalue if a + b else 1.0
    assert mcnemar(b, a) == pytest.approx(expected, rel=1e-9)


def test_right_and_wrong_are_tested_exactly():
    a = np.array([1, 1, 0, 0, 0, 0, 0, 1.0])
    b = np.array([1, 0, 1, 1, 1, 1, 1, 1.0])
    found = paired(a, b)
    assert found.test == "exact McNemar" and found.num_captions == 8
    assert found.p == pytest.approx(mcnemar(5, 1))
    assert found.difference == pytest.approx(4 / 8)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert paired(b, a).difference == pytest.approx(-0.5)


def test_captions_without_a_score_are_left_out():
    a, b = np.array([1, np.nan, 0, 1.0]), np.array([0, 1, np.nan, 1.0])
    assert paired(a, b).num_captions == 2
    with pytest.raises(ValueError, match="no caption that both"):
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
