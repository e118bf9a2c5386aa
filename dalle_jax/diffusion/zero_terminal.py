"""Zero terminal SNR: a schedule rescaled so that its last step is pure noise."""

import numpy as np

from dalle_jax.diffusion.arrays import logistic, namespace, safe_log
from dalle_jax.diffusion.discrete import from_alpha_bar
from dalle_jax.diffusion.schedules import Schedule


def rescale_alpha_bar(alpha_bar: np.ndarray) -> np.ndarray:
    """ᾱ [T] rescaled so that ᾱ_T = 0 and ᾱ_1 is unchanged (Lin et al. 2024, algorithm 1)."""
    root = np.sqrt(np.asarray(alpha_bar, np.float64))
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """A VP schedule rescaled so that alpha(1) is exactly 0 (Lin et al. 2024, 2305.08891, alg. 1).

    alpha' = (alpha − alpha_T) alpha_0 / (alpha_0 − alpha_T), where alpha_0, which does not change,
    is the value at step 1 of a discrete schedule and at t = 0 of a continuous one.
    """
    name = f"{schedule.name}, zero terminal SNR"
    if schedule.num_timesteps:
        steps = np.arange(1, schedule.num_timesteps + 1) / schedule.num_timesteps
        return from_alpha_bar(rescale_alpha_bar(schedule.alpha(steps) ** 2), name)

    alpha_0, alpha_T = float(schedule.alpha(0.0)), float(schedule.alpha(1.0))
    one_minus_alpha_0 = float(schedule.sigma(0.0)) ** 2 / (1 + alpha_0)

    def alpha(t):
        rescaled = (schedule.alpha(t) - alpha_T) * alpha_0 / (alpha_0 - alpha_T)
        return namespace(t).where(namespace(t).asarray(t) >= 1, 0.0, rescaled)

    def sigma(t):
        # 1 − alpha' from 1 − alpha = sigma² / (1 + alpha), which is precise where alpha' is near 1
        one_minus_alpha = schedule.sigma(t) ** 2 / (1 + schedule.alpha(t))
        gap = (alpha_0 * one_minus_alpha - alpha_T * one_minus_alpha_0) / (alpha_0 - alpha_T)
        rescaled = namespace(t).sqrt(gap * (1 + alpha(t)))
        return namespace(t).where(namespace(t).asarray(t) >= 1, 1.0, rescaled)

    def time(value):
        xp = namespace(value)
        rescaled = xp.sqrt(logistic(value))
        one_minus_rescaled = logistic(-value) / (1 + rescaled)
        original = rescaled * (alpha_0 - alpha_T) / alpha_0 + alpha_T
        one_minus = (
            one_minus_rescaled * (alpha_0 - alpha_T) + alpha_T * one_minus_alpha_0
        ) / alpha_0
        return schedule.time(2 * safe_log(original) - safe_log(one_minus) - safe_log(1 + original))

    return Schedule(
        name=name,
        alpha=alpha,
        sigma=sigma,
        logsnr=lambda t: 2 * (safe_log(alpha(t)) - safe_log(sigma(t))),
        time=time,
        t_min=schedule.t_min,
    )
