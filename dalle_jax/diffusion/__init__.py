"""The diffusion engine: pure functions on arrays.

`sample` needs only a denoiser `(x_t [B, ...], t [B]) -> x0_hat [B, ...]` and a `Schedule`.
"""

from dalle_jax.diffusion import editing, guidance, losses, training_times, vlb
from dalle_jax.diffusion.arrays import Denoised, Denoiser
from dalle_jax.diffusion.discrete import discrete
from dalle_jax.diffusion.grids import SPACINGS, time_grid
from dalle_jax.diffusion.guidance import classifier_free
from dalle_jax.diffusion.noise import initial_noise
from dalle_jax.diffusion.parameterization import PREDICTIONS, as_denoiser, from_x0, target, to_x0
from dalle_jax.diffusion.samplers import SAMPLERS, network_evaluations, sample
from dalle_jax.diffusion.schedules import CONTINUOUS, Schedule
from dalle_jax.diffusion.zero_terminal import zero_terminal_snr

__all__ = [
    "CONTINUOUS",
    "PREDICTIONS",
    "SAMPLERS",
    "SPACINGS",
    "Denoised",
    "Denoiser",
    "Schedule",
    "as_denoiser",
    "classifier_free",
    "discrete",
    "editing",
    "from_x0",
    "guidance",
    "initial_noise",
    "losses",
    "network_evaluations",
    "sample",
    "target",
    "time_grid",
    "to_x0",
    "training_times",
    "vlb",
    "zero_terminal_snr",
]
