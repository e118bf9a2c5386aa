"""Orders of convergence of the samplers on a Gaussian mixture, whose exact denoiser is known.

Claim: over logsnr −12 … 6 in even steps the error falls with the power of the step that theory
gives: DDIM 1, Heun 2, DPM-Solver++ 2M 2 and 3M 3, UniP-p p, UniPC-p p + 1, UniC one more.

    python experiments/convergence_orders.py --out docs/convergence_orders.png

prints the table of docs/diffusion.md, plots the errors and exits with 1 if a slope is off by more
than 0.15. About a minute on two cores.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from dalle_jax import diffusion
from dalle_jax.diffusion.analytic import GaussianMixture

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SCHEDULE = diffusion.CONTINUOUS["cosine"]()
STEPS = (10, 20, 40, 80, 160, 320, 640)
WHOLE = {"lower_order_final": False}  # falling to lower orders at the end caps the order at 2
SOLVERS = {  # name: (order, settings)
    "DDIM": (1, {"sampler": "ddim"}),
    "Heun": (2, {"sampler": "heun", "variable": "sigma"}),
    "DPM-Solver++ 2M": (2, {"sampler": "dpmpp_2m", **WHOLE}),
    "DPM-Solver++ 3M": (3, {"sampler": "dpmpp_3m", **WHOLE}),
    **{
        f"{name}-{p} {variant}": (
            p + (name == "UniPC"),
            {
                "sampler": "unipc",
                "order": p,
                "variant": variant,
                "corrector": name == "UniPC",
                **WHOLE,
            },
        )
        for name in ("UniP", "UniPC")
        for p in (1, 2, 3)
        for variant in ("bh1", "bh2")
    },
    "UniPC-2 bh2 on noise": (3, {"sampler": "unipc", "solver_prediction": "eps", **WHOLE}),
    "UniPC-3 bh2, lower order final": (2, {"sampler": "unipc", "order": 3}),
    "DDIM + UniC-1": (2, {"sampler": "ddim", "unic_order": 1}),
    "2M + UniC-2": (3, {"sampler": "dpmpp_2m", "unic_order": 2, **WHOLE}),
    "Heun + UniC-2": (3, {"sampler": "heun", "variable": "sigma", "unic_order": 2}),
}


def solve(steps: int, **settings) -> np.ndarray:
    """16 points of two numbers taken from logsnr −12 to 6 by `steps` even steps of logsnr."""
    data = GaussianMixture(
        jnp.array([0.3, 0.7]), jnp.array([[-1.0, 0.5], [0.8, -0.2]]), jnp.array([0.3, 0.4])
    )
    x_T = np.random.default_rng(0).normal(size=(16, 2))
    times = SCHEDULE.time(np.linspace(-12, 6, steps + 1))
    return np.asarray(
        diffusion.sample(
            data.denoiser(SCHEDULE), SCHEDULE, x_T, steps=steps, spacing=times, **settings
        )
    )


def measure() -> dict[str, np.ndarray]:
    """The root mean squared errors [len(STEPS)] of each solver."""
    exact = solve(5000, sampler="unipc", order=3, **WHOLE)
    return {
        name: np.array([np.sqrt(np.mean((solve(n, **settings) - exact) ** 2)) for n in STEPS])
        for name, (_, settings) in SOLVERS.items()
    }


def main() -> int:
    """Measure, print, plot and check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("convergence_orders.png"))
    out = parser.parse_args().out

    with jax.enable_x64(True):
        errors = measure()
    slopes = {name: float(np.log2(error[-2] / error[-1])) for name, error in errors.items()}

    print("| solver | order | slope | " + " | ".join(f"{n} steps" for n in STEPS[1::2]) + " |")
    print("|---|---|---|" + "---|" * len(STEPS[1::2]))
    for name, error in errors.items():
        row = " | ".join(f"{e:.1e}" for e in error[1::2])
        print(f"| {name} | {SOLVERS[name][0]} | {slopes[name]:.2f} | {row} |")

    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for name, error in errors.items():
        if "bh1" not in name:
            axes.loglog(STEPS, error, marker="o", markersize=3, label=f"{name}: {slopes[name]:.2f}")
    axes.set(xlabel="steps", ylabel="root mean squared error")
    axes.legend(fontsize=7, title="slope, 320 to 640 steps", title_fontsize=7)
    figure.savefig(out, dpi=150)
    print(f"\ndrawn to {out}")

    off = {n: s for n, s in slopes.items() if abs(s - SOLVERS[n][0]) > 0.15}
    print(f"claim does not hold: {off}" if off else "claim holds: every slope within 0.15")
    return bool(off)


if __name__ == "__main__":
    sys.exit(main())
