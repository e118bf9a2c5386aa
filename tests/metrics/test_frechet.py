import numpy as np
import pytest
import scipy.linalg

from dalle_jax.metrics.frechet import (
    extrapolate,
    factor,
    factor_features,
    frechet_distance,
    jackknife,
)
from dalle_jax.metrics.statistics import Gaussian, fit_gaussian


def by_sqrtm(a: Gaussian, b: Gaussian) -> float:
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    squared = ((a.mean - b.mean) ** 2).sum()
    return float(squared + np.trace(a.covariance + b.covariance - 2 * np.real(root)))


def random_gaussian(rng, dim, eigenvalues):
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return Gaussian(rng.normal(size=dim), (basis * eigenvalues) @ basis.T)


@pytest.mark.parametrize("ill_conditioned", [False, True])
def test_against_sqrtm(ill_conditioned):
    rng = np.random.default_rng(0)
    for _ in range(3):
        spectra = [np.logspace(-9, 1, 48) if ill_conditioned else rng.uniform(0.1, 3, 48)] * 2
        a, b = (random_gaussian(rng, 48, spectrum) for spectrum in spectra)
        tolerance = 1e-6 if ill_conditioned else 1e-10
        assert frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=tolerance)


def test_rank_deficient_covariances():
    # Σ₁ and Σ₂ share eigenvectors, so that the trace of the root is Σ √(λ μ): a closed form where
    # sqrtm, which needs a matrix that is not singular, is no reference.
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values_a, values_b = rng.uniform(1, 2, 40), rng.uniform(1, 2, 40)
    values_a[10:], values_b[15:] = 0, 0
    zero = np.zeros(40)
    a, b = (Gaussian(zero, (basis * v) @ basis.T) for v in (values_a, values_b))
    exact = (values_a + values_b - 2 * np.sqrt(values_a * values_b)).sum()
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-10)
    # With a ridge sqrtm has an answer; as the ridge goes, it comes to ours.
    ridged = [Gaussian(zero, g.covariance + 1e-10 * np.eye(40)) for g in (a, b)]
    assert by_sqrtm(*ridged) == pytest.approx(exact, rel=1e-4)


def test_commuting_and_equal_gaussians_have_their_closed_forms():
    a = Gaussian(np.zeros(3), np.diag([1.0, 4.0, 9.0]))
    b = Gaussian(np.array([1.0, 2.0, 2.0]), np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 4)  # |Δμ|² + Σ (σ₁ − σ₂)²
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))


@pytest.mark.parametrize("n", [20, 50, 200])
def test_factors_of_features_and_of_their_moments_agree(n):
    features = np.random.default_rng(n).normal(1, 2, (n, 50))
    other = random_gaussian(np.random.default_rng(0), 50, np.linspace(0.5, 2, 50))
    a = frechet_distance(factor_features(features), other)
    assert a == pytest.approx(frechet_distance(fit_gaussian(features), other), rel=1e-9)
    cov = np.cov(features, rowvar=False)
    assert a == pytest.approx(by_sqrtm(Gaussian(features.mean(0), cov), other), rel=1e-5)


def test_bias_of_two_samples_of_one_gaussian():
    # The known bias at 64 features: 8.4, 2.2, 0.55, 0.13 at n = 256, 1,024, 4,096, 16,384.
    rng = np.random.default_rng(3)
    for n, expected, repeats in ((256, 8.4, 6), (1024, 2.2, 4), (4096, 0.55, 3), (16384, 0.13, 2)):
        values = [
            frechet_distance(
                factor_features(rng.normal(size=(n, 64))), factor_features(rng.normal(size=(n, 64)))
            )
            for _ in range(repeats)
        ]
        assert np.mean(values) == pytest.approx(expected, rel=0.06), n


def test_extrapolation_takes_the_bias_away():
    rng = np.random.default_rng(4)
    reference = Gaussian(np.zeros(24), np.eye(24))
    features = rng.normal(size=(1500, 24)) + 0.3
    truth = 24 * 0.09
    errors = jackknife(features, reference)
    intercept, error = extrapolate(features, reference)
    assert errors.value > truth
    assert abs(intercept - truth) < 3 * errors.standard_error
    assert 0 < error < 1


def test_the_jackknife_knows_the_spread():
    # Its standard error is that of the distance over many samples of one distribution.
    rng = np.random.default_rng(5)
    reference = Gaussian(np.zeros(8), np.eye(8))
    runs = [jackknife(rng.normal(size=(300, 8)) + 0.3, reference) for _ in range(60)]
    spread = np.std([run.value for run in runs])
    assert np.mean([run.standard_error for run in runs]) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 2.0], [0.0, 1.0]], "symmetric"),
        ([[1.0, 0.0], [0.0, -1.0]], "eigenvalue"),
        ([[1.0, 0.0], [0.0, np.nan]], "finite"),
        (np.eye(3), "2 features can't be"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, message):
    with pytest.raises(ValueError, match=message):
        factor(Gaussian(np.zeros(2), np.array(covariance)))


def test_too_few_and_unlike_features_are_refused():
    with pytest.raises(ValueError, match="compared"):
        frechet_distance(Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.zeros(3), np.eye(3)))
    with pytest.raises(ValueError, match="at least 2"):
        factor_features(np.zeros((1, 4)))
