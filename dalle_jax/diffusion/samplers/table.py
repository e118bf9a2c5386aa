"""The table of samplers: each is a function from a time grid to rows of coefficients."""

from dalle_jax.diffusion.samplers.ancestral import ddpm
from dalle_jax.diffusion.samplers.ddim import ddim
from dalle_jax.diffusion.samplers.dpm_solver import dpmpp_1s, dpmpp_2m, dpmpp_3m, dpmpp_sde_2m
from dalle_jax.diffusion.samplers.edm import euler, heun
from dalle_jax.diffusion.samplers.unipc import unipc

SAMPLERS = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "dpmpp_1s": dpmpp_1s,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_3m": dpmpp_3m,
    "dpmpp_sde_2m": dpmpp_sde_2m,
    "unipc": unipc,
}
