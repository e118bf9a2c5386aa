"""Editing by diffusion: SDEdit, inpainting (replacement, RePaint), slerp, DDIM inversion."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.diffusion.arrays import Array, Denoiser, at_least_float32, per_sample
from dalle_jax.diffusion.grids import Grid, grid_options, time_grid
from dalle_jax.diffusion.noise import INITIAL_STEP, normal_like
from dalle_jax.diffusion.samplers import sample, sampler_rows
from dalle_jax.diffusion.samplers.coefficients import Row, run, stack
from dalle_jax.diffusion.schedules import Schedule


def sdedit(
    schedule: Schedule,
    x_0: Array,
    key: Array,
    *,
    strength: float,
    steps: int,
    spacing: str | np.ndarray = "trailing",
    sample_index: Array | None = None,
    **options,
) -> tuple[Array, np.ndarray]:
    """The start of sampling from an image: (x_t [B, ...], the remaining times), t ≈ `strength`.

    SDEdit (Meng et al. 2022, 2108.01073) adds noise to x_0 up to an inner time of the grid and
    samples from there: `sample(..., x_t, steps=len(times) - 1, spacing=times)`. strength 1 uses the
    whole grid.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be in (0, 1]; got {strength}")
    grid = time_grid(schedule, steps, spacing, **options)
    i = min(int(np.searchsorted(-grid.t, -strength - 1e-9)), steps - 1)
    index = jnp.arange(x_0.shape[0]) if sample_index is None else sample_index
    noise = normal_like(key, index, INITIAL_STEP, x_0)
    return float(grid.alpha[i]) * x_0 + float(grid.sigma[i]) * noise, grid.t[i:]


def inpaint(
    denoiser: Denoiser,
    schedule: Schedule,
    x_T: Array,
    known: Array,
    mask: Array,
    key: Array,
    *,
    sampler: str = "ddpm",
    steps: int = 250,
    spacing: str | np.ndarray = "trailing",
    resample: int = 1,
    jump: int = 10,
    sample_index: Array | None = None,
    callback: Callable[[int, int, Array], None] | None = None,
    **options,
) -> Array:
    """Fill in where mask = 0 and keep `known` [B, ...] where mask = 1 (mask broadcasts to x).

    After each step the known part is replaced by `known` with noise of the same level (Song et al.
    2021, 2011.13456, appendix I.2). resample = r > 1 is RePaint (Lugmayr et al. 2022, 2201.09865,
    algorithm 1): every `jump` steps the chain goes back to a higher noise level and down again,
    r times in all, so that the filling agrees with its surroundings. RePaint needs a single-step
    sampler ("ddpm", "ddim", "euler"). Samplers with a corrector ("heun", and "unipc" unless
    corrector=False) raise a ValueError.
    """
    rows = sampler_rows(schedule, sampler=sampler, steps=steps, spacing=spacing, **options)
    grid_options_given = {name: options[name] for name in grid_options(spacing) if name in options}
    grid = time_grid(schedule, steps, spacing, **grid_options_given)
    if resample > 1 and any(len(row.b) > 1 for row in rows):
        raise ValueError(
            f'RePaint needs a single-step sampler, which "{sampler}" is not: use "ddpm"'
        )
    entered, back = _repaint_walk(steps, jump, resample)
    walked = [rows[i - 1] for i in entered]
    index = jnp.arange(x_T.shape[0]) if sample_index is None else sample_index
    key_known, key_back, key_chain = jax.random.split(key, 3)

    x_T = at_least_float32(x_T)
    up, up_noise = _noised_back(grid, entered, back)
    levels = jnp.asarray(
        np.stack([grid.alpha[entered], grid.sigma[entered], up, up_noise], axis=1), x_T.dtype
    )

    def project(x, i):
        alpha, sigma, up, up_noise = levels[i]
        noised = alpha * known + sigma * normal_like(key_known, index, i, x)
        x = jnp.where(mask, noised, x)
        if resample > 1:
            x = up * x + up_noise * normal_like(key_back, index, i, x)
        return x

    return run(
        stack(walked, x_T.dtype),
        denoiser,
        x_T,
        key=key_chain,
        sample_index=index,
        callback=callback,
        project=project,
    )


def _repaint_walk(steps: int, jump: int, resample: int) -> tuple[list[int], list[int]]:
    """The grid points in the order of the steps, and the point each is then noised back to.

    A point that is not noised back is paired with itself.
    """
    entered, back = [], []
    for start in range(0, steps, jump):
        points = list(range(start + 1, min(start + jump, steps) + 1))
        for turn in range(resample):
            again = turn < resample - 1
            entered += points
            back += [*points[:-1], start if again else points[-1]]
    return entered, back


def _noised_back(grid: Grid, entered: list[int], back: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """q(x_t | x_s) for s < t: the coefficient of x_s and the noise's deviation (DDPM, eq. 2)."""
    ratio = grid.alpha[back] / grid.alpha[entered]
    variance = grid.sigma[back] ** 2 - (ratio * grid.sigma[entered]) ** 2
    return ratio, np.sqrt(np.maximum(variance, 0.0))


def slerp(a: Array, b: Array, fraction: Array | float) -> Array:
    """Spherical interpolation of a and b [B, ...], each sample one vector, at `fraction` [B].

    sin((1 − f) θ) / sin θ a + sin(f θ) / sin θ b, θ the angle between them (DDIM, equation 66;
    unCLIP §3.2). Parallel vectors are interpolated linearly. Lengths need not be equal.
    """
    axes = tuple(range(1, a.ndim))
    fraction = per_sample(fraction, a)

    def dot(x, y):
        return jnp.sum(x * y, axis=axes, keepdims=True)

    cosine = dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b))
    theta = jnp.arccos(jnp.clip(cosine, -1.0, 1.0))
    sine = jnp.sin(theta)
    straight = sine < 1e-6
    sine = jnp.where(straight, 1.0, sine)
    weight_a = jnp.where(straight, 1 - fraction, jnp.sin((1 - fraction) * theta) / sine)
    weight_b = jnp.where(straight, fraction, jnp.sin(fraction * theta) / sine)
    return weight_a * a + weight_b * b


def ddim_inversion(
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Array,
    *,
    steps: int,
    spacing: str | np.ndarray = "trailing",
    **options,
) -> Array:
    """The x_T [B, ...] from which DDIM on the same grid leads back to approximately x_0 [B, ...].

    DDIM's ODE integrated upwards (2010.02502, equation 14; Dhariwal & Nichol 2021, appendix F):
    x_t = alpha_t x0_hat + sigma_t eps_hat, with both estimates from the start of the step. Clean
    data has no eps, so the first step evaluates the network at its end. `steps` evaluations.
    """
    grid = time_grid(schedule, steps, spacing, **options)
    t, alpha, sigma = grid.t[::-1], grid.alpha[::-1], grid.sigma[::-1]
    rows = []
    for i in range(steps):
        at = i + 1 if sigma[i] == 0 else i
        # x_t / alpha_t = x_s / alpha_s + Δσ eps_hat, eps_hat = (x − alpha_at x0_hat) / sigma_at
        gain = sigma[i + 1] - alpha[i + 1] / alpha[i] * sigma[i]
        scale = 1 / sigma[at]
        rows.append(
            Row(t[at], alpha[i + 1] / alpha[i] + gain * scale, (-gain * alpha[at] * scale,))
        )
    x_0 = at_least_float32(x_0)
    return run(stack(rows, x_0.dtype), denoiser, x_0)


def reconstruction_error(
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Array,
    *,
    steps: int,
    spacing: str | np.ndarray = "trailing",
    **options,
) -> Array:
    """Mean squared error [B] of x_0 after DDIM inversion and DDIM on one grid (DDIM, table 2)."""
    settings = dict(steps=steps, spacing=spacing, **options)
    x_T = ddim_inversion(denoiser, schedule, x_0, **settings)
    back = sample(denoiser, schedule, x_T, sampler="ddim", **settings)
    return jnp.mean(jnp.square(back - x_0), axis=tuple(range(1, x_0.ndim)))
