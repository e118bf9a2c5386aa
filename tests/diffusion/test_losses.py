import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dalle_jax import diffusion
from dalle_jax.diffusion.losses import WEIGHTINGS, squared_error, weight

COSINE = diffusion.CONTINUOUS["cosine"]()
T = np.linspace(0.02, 0.98, 25)


def weights(weighting, prediction, schedule=COSINE, t=T, **options):
    with jax.enable_x64(True):
        return np.asarray(weight(weighting, prediction, schedule, jnp.asarray(t), **options))


def test_min_snr_as_its_paper_writes_it_for_each_prediction():
    snr = np.exp(COSINE.logsnr(T))
    capped = np.minimum(snr, 5)
    np.testing.assert_allclose(weights("min_snr", "x0"), capped, rtol=1e-9)
    np.testing.assert_allclose(weights("min_snr", "eps"), capped / snr, rtol=1e-9)
    np.testing.assert_allclose(weights("min_snr", "v"), capped / (snr + 1), rtol=1e-9)
    np.testing.assert_allclose(weights("min_snr", "x0", gamma=2.0), np.minimum(snr, 2), rtol=1e-9)


@pytest.mark.parametrize("prediction", ["v", "x0", "flow"])
def test_min_snr_at_snr_0_is_1_and_its_gradient_finite(prediction):
    schedule = diffusion.zero_terminal_snr(diffusion.discrete("linear"))
    assert weights("min_snr", prediction, schedule, [1.0]) == 1
    assert np.isfinite(weights("min_snr", prediction, schedule, [0.001, 0.5])).all()


def test_snr_falls_below_5_where_the_paper_s_reader_finds_it():
    # reference: SNR < 5 from about n = 130 (linear) and 261 (cosine) of 1000 on
    for name, n in {"linear": 130, "cosine": 261}.items():
        schedule = diffusion.discrete(name)
        assert abs(float(schedule.time(np.log(5.0))) * 1000 - n) < 2


def test_p2_edm_snr_and_truncated_snr():
    snr, sigma = np.exp(COSINE.logsnr(T)), COSINE.noise_ratio(T)
    np.testing.assert_allclose(weights("snr", "eps"), 1, rtol=1e-9)
    np.testing.assert_allclose(weights("p2", "eps"), 1 / (1 + snr), rtol=1e-9)
    np.testing.assert_allclose(weights("p2", "eps", gamma=0.5, k=2.0), (2 + snr) ** -0.5, rtol=1e-9)
    np.testing.assert_allclose(
        weights("edm", "x0"), (sigma**2 + 0.25) / (sigma * 0.5) ** 2, rtol=1e-9
    )
    np.testing.assert_allclose(weights("edm", "edm"), 1, rtol=1e-9)  # EDM: λ c_out² = 1
    np.testing.assert_allclose(weights("truncated_snr", "x0"), np.maximum(snr, 1), rtol=1e-9)
    np.testing.assert_allclose(weights("simple", "v"), 1)


@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if w != "simple"])
@pytest.mark.parametrize("schedule", [COSINE, diffusion.CONTINUOUS["rectified_flow"]()])
def test_a_weighting_says_the_same_of_every_prediction(weighting, schedule):
    """weight · ‖error of the prediction‖² does not depend on what the network predicts."""
    rng = np.random.default_rng(1)
    x_0, eps, wrong = rng.normal(size=(3, len(T), 4))
    alpha, sigma = schedule.alpha(T), schedule.sigma(T)
    x_t = alpha[:, None] * x_0 + sigma[:, None] * eps
    with jax.enable_x64(True):
        losses = []
        for kind in diffusion.PREDICTIONS:
            said = diffusion.from_x0(wrong, x_t, alpha, sigma, kind)
            error = squared_error(said, diffusion.target(x_0, eps, alpha, sigma, kind))
            losses.append(error * weights(weighting, kind, schedule))
    for loss in losses[1:]:
        np.testing.assert_allclose(loss, losses[0], rtol=1e-6)


def test_squared_error_is_float32_of_bfloat16():
    a, b = jnp.full((2, 3), 1.0, jnp.bfloat16), jnp.full((2, 3), 1.5, jnp.bfloat16)
    loss = squared_error(a, b)
    assert loss.dtype == jnp.float32 and loss.shape == (2,)
    np.testing.assert_allclose(loss, 0.25)


def test_unknown_weighting():
    with pytest.raises(ValueError, match="known are simple, snr"):
        weight("minsnr", "v", COSINE, jnp.ones(1))
