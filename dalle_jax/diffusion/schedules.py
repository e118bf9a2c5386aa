"""Noise schedules: how much of x_0 and how much noise x_t contains.

    x_t = alpha(t) x_0 + sigma(t) eps,     logsnr(t) = log(alpha(t)² / sigma(t)²),    t in [0, 1]

t = 0 is clean, t = 1 is noise, and logsnr decreases strictly. Every function takes jax arrays (and
computes in their precision) or floats and numpy arrays (and computes in float64 on the host).

A model trained on T discrete steps uses the same convention: step n = 1 … T of the papers (the
network's index n − 1) is at t = n / T, so that t = 0 is clean data (`discrete.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dalle_jax.diffusion.arrays import Array, logistic, namespace, safe_log

Function = Callable[[Array | float], Array]


@dataclass(frozen=True)
class Schedule:
    """A noise schedule as functions of t [...] -> [...].

    `time` is the inverse of `logsnr`. `num_timesteps` is the T of a discrete schedule and None for
    a continuous one; `t_min` is the smallest t at which a time grid evaluates the network.
    """

    name: str
    alpha: Function
    sigma: Function
    logsnr: Function
    time: Function
    num_timesteps: int | None = None
    t_min: float = 1e-3

    def model_time(self, t: Array | float) -> Array:
        """The time input of a network trained on time steps: n − 1 = T t − 1, or 1000 t."""
        return self.num_timesteps * t - 1 if self.num_timesteps else 1000 * t

    def noise_ratio(self, t: Array | float) -> Array:
        """sigma(t) / alpha(t): the σ of EDM, infinite where alpha is 0."""
        return namespace(t).exp(-self.logsnr(t) / 2)


def variance_preserving(name: str, logsnr: Function, time: Function) -> Schedule:
    """alpha² = sigmoid(logsnr) and sigma² = sigmoid(−logsnr), so that alpha² + sigma² = 1."""
    return Schedule(
        name=name,
        alpha=lambda t: namespace(t).sqrt(logistic(logsnr(t))),
        sigma=lambda t: namespace(t).sqrt(logistic(-logsnr(t))),
        logsnr=logsnr,
        time=time,
    )


def cosine(logsnr_min: float = -20.0, logsnr_max: float = 20.0) -> Schedule:
    """alpha = cos(φ), sigma = sin(φ), φ linear in t (Improved DDPM §3.2; bounds: simple diffusion).

    logsnr(t) = −2 log tan(φ_0 + t (φ_1 − φ_0)), with φ_0, φ_1 such that logsnr runs from logsnr_max
    at t = 0 to logsnr_min at t = 1 (Hoogeboom et al. 2023, 2301.11093, §2.1). The default lower
    bound is that of the discrete table (sqrt(ᾱ_T) = 4.9e-5).
    """
    phi_0 = np.arctan(np.exp(-logsnr_max / 2))
    phi_1 = np.arctan(np.exp(-logsnr_min / 2))

    def logsnr(t):
        return -2 * safe_log(namespace(t).tan(phi_0 + t * (phi_1 - phi_0)))

    def time(value):
        xp = namespace(value)
        return (xp.arctan(xp.exp(-value / 2)) - phi_0) / (phi_1 - phi_0)

    return variance_preserving("cosine", logsnr, time)


def linear(beta_0: float = 0.1, beta_1: float = 20.0) -> Schedule:
    """The VP SDE with β(t) = β_0 + t (β_1 − β_0) (Song et al. 2021, 2011.13456, equation 33).

    ∫β = β_0 t + (β_1 − β_0) t² / 2 and alpha² = exp(−∫β). The defaults are the limit of DDPM's
    T = 1000 table, 1e-4 … 0.02. t = 0 is exactly clean: logsnr(0) = ∞.
    """
    slope = beta_1 - beta_0

    def time_of_integral(integral):
        root = namespace(integral).sqrt(beta_0**2 + 2 * slope * integral)
        return 2 * integral / (beta_0 + root)

    return _from_beta_integral("linear", lambda t: beta_0 * t + slope * t * t / 2, time_of_integral)


def scaled_linear(beta_0: float = 0.85, beta_1: float = 12.0) -> Schedule:
    """The VP SDE with sqrt(β(t)) linear in t, as latent diffusion uses it (2112.10752, code).

    ∫β = (r(t)³ − r(0)³) / (3 (r(1) − r(0))) with r = sqrt(β); the defaults are the limit of the
    T = 1000 table, 0.00085 … 0.012.
    """
    r_0, delta = np.sqrt(beta_0), np.sqrt(beta_1) - np.sqrt(beta_0)

    def integral(t):
        return t * (r_0**2 + r_0 * delta * t + (delta * t) ** 2 / 3)

    def time_of_integral(value):
        return (namespace(value).cbrt(r_0**3 + 3 * delta * value) - r_0) / delta

    return _from_beta_integral("scaled_linear", integral, time_of_integral)


def _from_beta_integral(name: str, integral: Function, time_of_integral: Function) -> Schedule:
    """A VP schedule from b(t) = ∫β: alpha² = e^−b, so logsnr = −log(e^b − 1)."""

    def time(value):
        xp = namespace(value)
        return time_of_integral(xp.logaddexp(0.0, -value))  # b = log(1 + 1/SNR)

    return variance_preserving(name, lambda t: -safe_log(namespace(t).expm1(integral(t))), time)


def sigmoid(start: float = -3.0, end: float = 3.0, tau: float = 1.0) -> Schedule:
    """alpha² = (s(1) − s(t)) / (s(1) − s(0)), s(t) = sigmoid((start + t (end − start)) / τ).

    Jabri et al. 2022 (2212.11972), Chen 2023 (2301.10972, algorithm 1). t = 1 is pure noise:
    alpha(1) = 0 exactly, a zero terminal SNR.
    """
    s_0, s_1 = logistic(start / tau), logistic(end / tau)

    def parts(t):
        """(1 − alpha², alpha²) up to a common factor, each without cancellation."""
        u = (start + t * (end - start)) / tau
        xp = namespace(t)
        # s(b) − s(a) = s(b) s(−a) (1 − e^(a−b))
        noise = logistic(u) * logistic(-start / tau) * -xp.expm1((start / tau) - u)
        data = s_1 * logistic(-u) * -xp.expm1(u - end / tau)
        return noise, data

    def logsnr(t):
        noise, data = parts(t)
        return safe_log(data) - safe_log(noise)

    def time(value):
        s = s_0 + (s_1 - s_0) * logistic(-value)
        return (tau * (safe_log(s) - safe_log(1 - s)) - start) / (end - start)

    return variance_preserving("sigmoid", logsnr, time)


def edm(sigma_min: float = 0.002, sigma_max: float = 80.0) -> Schedule:
    """alpha = 1, sigma from sigma_min (t = 0) to sigma_max (t = 1), log-linear in t (EDM, table 1).

    The chain starts from x_T = sigma_max eps.
    """
    low, span = np.log(sigma_min), np.log(sigma_max) - np.log(sigma_min)

    def log_sigma(t):
        return low + t * span

    return Schedule(
        name="edm",
        alpha=lambda t: namespace(t).ones_like(t),
        sigma=lambda t: namespace(t).exp(log_sigma(t)),
        logsnr=lambda t: -2 * log_sigma(t),
        time=lambda value: (-value / 2 - low) / span,
        t_min=0.0,
    )


def rectified_flow(shift: float = 1.0) -> Schedule:
    """alpha = 1 − s, sigma = s with s = shift t / (1 + (shift − 1) t).

    Liu et al. 2022 (2209.03003); the shift is that of Esser et al. 2024 (2403.03206, equation 23).
    """

    def sigma(t):
        return shift * t / (1 + (shift - 1) * t)

    def alpha(t):
        return (1 - t) / (1 + (shift - 1) * t)

    def time(value):
        s = logistic(-value / 2)
        return s / (shift - (shift - 1) * s)

    return Schedule(
        name="rectified_flow",
        alpha=alpha,
        sigma=sigma,
        logsnr=lambda t: 2 * (safe_log(alpha(t)) - safe_log(sigma(t))),
        time=time,
    )


CONTINUOUS = {
    "cosine": cosine,
    "linear": linear,
    "scaled_linear": scaled_linear,
    "sigmoid": sigmoid,
    "edm": edm,
    "rectified_flow": rectified_flow,
}
