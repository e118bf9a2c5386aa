"""UniPC, orders of convergence: UniP-p is of order p, and its corrector adds one to any solver.

Zhao et al. 2023 (2302.04867). Errors of solvers from logsnr −12 to 6 in even steps on a mixture of
two Gaussians in the plane, whose exact denoiser is known, in float64. No network.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax import diffusion
from dalle_jax.diffusion.analytic import GaussianMixture
from dalle_jax.figures.figure import Claim, Estimate, Figure, Measured
from dalle_jax.figures.plots import panels
from dalle_jax.figures.rows import select

STEPS = (20, 40, 80, 160, 320)
EXACT_STEPS = 4000
MIXTURE = ([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.2]], [0.3, 0.4])  # weights, means, deviations
NUM_POINTS, SEED = 16, 0
TOLERANCE = 0.15  # of an order, which is reached only in the limit
WHOLE = {"lower_order_final": False}  # falling to lower orders at the end caps the order at 2
UNIPC = {"sampler": "unipc", **WHOLE}
SOLVERS = {  # name: (order in theory, settings)
    **{f"UniP-{p}": (p, UNIPC | {"order": p, "corrector": False}) for p in (1, 2, 3)},
    **{f"UniPC-{p}": (p + 1, UNIPC | {"order": p}) for p in (1, 2, 3)},
    "Heun": (2, {"sampler": "heun", "variable": "sigma"}),
    "Heun + UniC-2": (3, {"sampler": "heun", "variable": "sigma", "unic_order": 2}),
}


def solve(steps: int, **settings) -> np.ndarray:
    """Where points [N, 2] end."""
    schedule = diffusion.CONTINUOUS["cosine"]()
    data = GaussianMixture(*map(jnp.array, MIXTURE))
    x_T = np.random.default_rng(SEED).normal(size=(NUM_POINTS, 2))
    times = schedule.time(np.linspace(-12, 6, steps + 1))
    denoiser = data.denoiser(schedule)
    how = {"steps": steps, "spacing": times, **settings}
    return np.asarray(diffusion.sample(denoiser, schedule, x_T, **how))


def measure() -> Measured:
    """Root mean squared errors against a solution of many steps, and their slopes."""
    rows = []
    with jax.enable_x64(True):
        exact = solve(EXACT_STEPS, order=3, **UNIPC)
        for name, (order, settings) in SOLVERS.items():
            errors = [np.sqrt(np.mean((solve(n, **settings) - exact) ** 2)) for n in STEPS]
            of_solver = {"solver": name, "order": order}
            for n, error in zip(STEPS, errors):
                rows.append({**of_solver, "steps": n, "metric": "error", "value": float(error)})
            slope = float(np.log2(errors[-2] / errors[-1]))
            rows.append({**of_solver, "metric": "slope", "value": slope})
    return Measured(rows, seed=SEED)


def draw(rows, images):
    """Errors by steps, both logarithmic."""
    figure, axes = panels(1, size=(7, 4.6))
    for i, slope in enumerate(select(rows, "slope")):
        errors = select(rows, "error", solver=slope["solver"])
        style = "-" if "C" in slope["solver"] else "--"  # with a corrector
        label = f"{slope['solver']}: {slope['value']:.2f} (theory {slope['order']})"
        x, y = ([row[name] for row in errors] for name in ("steps", "value"))
        axes.loglog(x, y, style, marker="o", markersize=3, color=f"C{i}", label=label)
    axes.set(xlabel="steps", ylabel="root mean squared error (data of deviation about 1)")
    axes.set_xticks(STEPS, map(str, STEPS), minor=False)
    axes.minorticks_off()
    title = f"slope from {STEPS[-2]} to {STEPS[-1]} steps"
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", title=title)
    return figure


def claims(rows):
    """The solver of each family whose slope is furthest from theory."""
    families = {
        "UniP-": "UniP-p is of order p, for p = 1, 2, 3.",
        "UniPC": "UniPC-p is of order p + 1, for p = 1, 2, 3.",
        "Heun": "UniC adds an order to a solver that is not UniP.",
    }
    found = []
    for family, statement in families.items():
        slopes = [row for row in select(rows, "slope") if row["solver"].startswith(family)]
        off = max(slopes, key=lambda row: abs(row["value"] - row["order"]))
        basis = f"{off['solver']}, the furthest off: slope {off['value']:.2f}"
        value = Estimate(abs(off["value"] - off["order"]), None, basis)
        found.append(Claim(statement, value, below=TOLERANCE, unit="orders off theory"))
    return found


def get_figure(scale: str) -> Figure:
    """The same at every scale: it takes seconds."""
    return dict.fromkeys(("tiny", "small", "paper"), Figure(draw, claims, measure=measure))[scale]
