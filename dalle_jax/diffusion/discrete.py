"""Discrete schedules of T steps: the exact tables of the papers as functions of continuous t.

Step n = 1 … T is at t = n / T; the network's index is n − 1; t = 0 is clean data (ᾱ_0 = 1).
Between the steps sigma / alpha is linear in t, as in k-diffusion and diffusers.
"""

import numpy as np

from dalle_jax.diffusion.arrays import namespace, safe_log
from dalle_jax.diffusion.schedules import Schedule, sigmoid


def linear_betas(num_timesteps: int = 1000) -> np.ndarray:
    """β [T] from 1e-4 to 0.02 (DDPM §4), times 1000 / T for another T (Improved DDPM, code)."""
    scale = 1000 / num_timesteps
    return np.linspace(scale * 1e-4, scale * 0.02, num_timesteps)


def scaled_linear_betas(num_timesteps: int = 1000) -> np.ndarray:
    """β [T], sqrt(β) linear from 0.00085 to 0.012 (latent diffusion), times 1000 / T."""
    scale = 1000 / num_timesteps
    return np.linspace((scale * 0.00085) ** 0.5, (scale * 0.012) ** 0.5, num_timesteps) ** 2


def cosine_betas(num_timesteps: int = 1000, s: float = 0.008) -> np.ndarray:
    """β [T] with ᾱ_n = f(n) / f(0), f(n) = cos²((n / T + s) / (1 + s) · π / 2), each β ≤ 0.999.

    Improved DDPM, equation 17.
    """

    def f(u):
        return np.cos((u + s) / (1 + s) * np.pi / 2) ** 2

    n = np.arange(num_timesteps)
    return np.minimum(1 - f((n + 1) / num_timesteps) / f(n / num_timesteps), 0.999)


def sigmoid_betas(num_timesteps: int = 1000) -> np.ndarray:
    """β [T] of the sigmoid ᾱ (Chen 2023, algorithm 1) at n / T, each β ≤ 0.999."""
    alpha_bar = sigmoid().alpha(np.arange(num_timesteps + 1) / num_timesteps) ** 2
    return np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999)


BETAS = {
    "linear": linear_betas,
    "scaled_linear": scaled_linear_betas,
    "cosine": cosine_betas,
    "sigmoid": sigmoid_betas,
}


def from_betas(betas: np.ndarray, name: str = "discrete") -> Schedule:
    """The schedule of any table β [T] with 0 < β < 1: ᾱ_n = Π (1 − β_i)."""
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not ((betas > 0) & (betas < 1)).all():
        raise ValueError(
            f"betas must be one row of numbers inside (0, 1); got shape {betas.shape} "
            f"from {betas.min()} to {betas.max()}"
        )
    return from_alpha_bar(np.exp(np.cumsum(np.log1p(-betas))), name)


def discrete(name: str, num_timesteps: int = 1000) -> Schedule:
    """A schedule of the papers, "linear", "scaled_linear", "cosine" or "sigmoid", of T steps."""
    if name not in BETAS:
        raise ValueError(f'no discrete schedule "{name}"; known are {", ".join(BETAS)}')
    return from_betas(BETAS[name](num_timesteps), name)


def from_alpha_bar(alpha_bar: np.ndarray, name: str = "discrete") -> Schedule:
    """The schedule of a strictly decreasing ᾱ [T]; its last value may be 0 (zero terminal SNR)."""
    alpha_bar = np.asarray(alpha_bar, np.float64)
    if not (alpha_bar[0] < 1 and alpha_bar[-1] >= 0 and (np.diff(alpha_bar) < 0).all()):
        raise ValueError("alpha_bar must decrease strictly and lie in [0, 1)")
    T = len(alpha_bar)
    with np.errstate(divide="ignore"):
        ratio = np.concatenate([[0.0], np.sqrt((1 - alpha_bar) / alpha_bar)])  # sigma / alpha
    # In segment i, sigma / alpha = (p + w dp) / (q + w dq) with w in [0, 1]. It is linear (q = 1,
    # dq = 0) unless the segment ends at infinity, where its reciprocal is linear.
    p, dp, q, dq = ratio[:-1].copy(), np.diff(ratio), np.ones(T), np.zeros(T)
    if alpha_bar[-1] == 0:
        p[-1], dp[-1], q[-1], dq[-1] = 1.0, 0.0, 1 / ratio[-2], -1 / ratio[-2]
    segments = np.stack([p, dp, q, dq])

    def parts(t):
        """(sigma, alpha) before normalization."""
        xp = namespace(t)
        n = xp.clip(xp.asarray(t), 0.0, 1.0) * T
        i = xp.clip(xp.floor(n), 0, T - 1).astype(int)
        p, dp, q, dq = xp.asarray(segments, n.dtype)[:, i]
        return p + (n - i) * dp, q + (n - i) * dq

    def alpha(t):
        p, q = parts(t)
        return q / namespace(t).sqrt(p * p + q * q)

    def sigma(t):
        p, q = parts(t)
        return p / namespace(t).sqrt(p * p + q * q)

    def logsnr(t):
        p, q = parts(t)
        return 2 * (safe_log(q) - safe_log(p))

    def time(value):
        xp = namespace(value)
        value = xp.asarray(value)
        r = xp.exp(-value / 2)
        i = xp.clip(xp.searchsorted(xp.asarray(ratio, r.dtype), r, side="right") - 1, 0, T - 1)
        p, dp, q, dq = xp.asarray(segments, r.dtype)[:, i]
        scale = 1 / xp.maximum(r, 1.0)  # so that no term is infinite at r = ∞
        r = xp.minimum(r, 1.0)
        return (i + xp.clip((r * q - scale * p) / (scale * dp - r * dq), 0.0, 1.0)) / T

    return Schedule(name, alpha, sigma, logsnr, time, num_timesteps=T, t_min=1 / T)
