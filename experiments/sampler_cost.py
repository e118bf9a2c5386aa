"""What sampling costs beyond the network, with a real U-Net.

Claims: n evaluations cost at most 2 % more than n bare forward passes; a guidance interval saves
the unconditional half outside of it; a 50-step sampler compiles as quickly as one of 1 step.

    python experiments/sampler_cost.py

Every comparison is of runs that take turns in one process, so that a busy machine weighs on both;
the ratio of each pair is taken, and the median of the ratios is judged. Exits with 1 if a claim
does not hold.
"""

import argparse
import sys
import time

from dalle_jax import cpu

cpu.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from dalle_jax import diffusion  # noqa: E402
from dalle_jax.diffusion import guidance  # noqa: E402
from dalle_jax.models.unet import UNet  # noqa: E402

SCHEDULE = diffusion.CONTINUOUS["cosine"]()
STEPS = 20
UNET = dict(
    channels=64,
    channel_mult=(1, 2, 2),
    num_res_blocks=1,
    attention_resolutions=(16, 8),
    head_channels=32,
    norm_groups=16,
)
BATCH, SIZE, POOLED, TOKENS = 4, 32, 128, 16
INTERVAL = (0.28, 2.9)  # Kynkäänniemi et al. 2024, EDM2-S


def seconds(f, *args) -> float:
    """Wall time of one call, waited for."""
    start = time.perf_counter()
    jax.block_until_ready(f(*args))
    return time.perf_counter() - start


def paired(a, b, args_a, args_b, repeats: int) -> tuple[float, float, float]:
    """Median seconds of a and of b and the median of the ratios a / b, the two taking turns."""
    times = np.array([(seconds(a, *args_a), seconds(b, *args_b)) for _ in range(repeats)])
    return *np.median(times, axis=0), float(np.median(times[:, 0] / times[:, 1]))


def compile_seconds(f, *args) -> tuple[float, object]:
    """Seconds to trace and compile f, and the compiled program."""
    start = time.perf_counter()
    program = jax.jit(f).lower(*args).compile()
    return time.perf_counter() - start, program


def main() -> int:
    """Measure and judge the three claims."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    sys.stdout.reconfigure(line_buffering=True)

    unet = UNet(**UNET)
    x = jax.random.normal(jax.random.key(0), (BATCH, SIZE, SIZE, 3))
    text = (jnp.ones((BATCH, POOLED)), jnp.ones((BATCH, TOKENS, POOLED)))
    params = unet.init(jax.random.key(1), x, jnp.ones(BATCH), *text)

    def denoise(params, x_t, t, condition):
        def network(x, t):
            return unet.apply(params, x, t, *condition)

        return diffusion.as_denoiser(network, SCHEDULE, "v")(x_t, t)

    def bare(params, x, t):
        """STEPS forward passes of only the network, each on the one before's output."""

        def body(x, t):
            return unet.apply(params, x, jnp.full(BATCH, t), *text), None

        return jax.lax.scan(body, x, t)[0]

    def sampling(params, x, *, steps=STEPS, guided=None):
        denoiser = guided(params) if guided else lambda x, t: denoise(params, x, t, text)
        return diffusion.sample(denoiser, SCHEDULE, x, sampler="unipc", steps=steps)

    def both_halves(params):
        return guidance.classifier_free(
            lambda x, t, c: denoise(params, x, t, c), text, jax.tree.map(jnp.zeros_like, text), 3.0
        )

    def on_interval(params):
        return guidance.on_interval(
            SCHEDULE,
            INTERVAL,
            inside=both_halves(params),
            outside=lambda x, t: denoise(params, x, t, text),
        )

    print(f"{jax.devices()[0].device_kind}, batch {BATCH} of {SIZE} px, {STEPS} steps of UniPC-2")
    failed = []

    times = jnp.linspace(1, 0.05, STEPS)
    _, bare_program = compile_seconds(bare, params, x, times)
    compile_20, sampler = compile_seconds(sampling, params, x)
    seconds(bare_program, params, x, times), seconds(sampler, params, x)
    a, b, ratio = paired(sampler, bare_program, (params, x), (params, x, times), repeats)
    print(
        f"{STEPS} evaluations: sampler {a:.3f} s, bare forward passes {b:.3f} s "
        f"({b / STEPS * 1e3:.1f} ms each), ratio {ratio:.4f}"
    )
    if ratio > 1.02:
        failed.append("a sampler costs at most 2 % more than its evaluations")

    full = compile_seconds(lambda p, x: sampling(p, x, guided=both_halves), params, x)[1]
    part = compile_seconds(lambda p, x: sampling(p, x, guided=on_interval), params, x)[1]
    seconds(full, params, x), seconds(part, params, x)
    grid = diffusion.time_grid(SCHEDULE, STEPS, "trailing")
    sigma = (grid.sigma / grid.alpha)[:-1]
    inside = int(((sigma > INTERVAL[0]) & (sigma <= INTERVAL[1])).sum())
    a_part, a_full, ratio = paired(part, full, (params, x), (params, x), repeats)
    # a guided step costs a_full / STEPS, an unguided one a / STEPS
    expected = (inside * a_full + (STEPS - inside) * a) / STEPS / a_full
    print(
        f"guidance on {inside} of {STEPS} steps: {a_part:.3f} s against {a_full:.3f} s on all, "
        f"ratio {ratio:.3f}, expected {expected:.3f}"
    )
    if abs(ratio - expected) > 0.05:
        failed.append("a guidance interval saves what it should")

    compile_1 = min(
        compile_seconds(lambda p, x: sampling(p, x, steps=1), params, x)[0] for _ in range(3)
    )
    compile_50 = min(
        compile_seconds(lambda p, x: sampling(p, x, steps=50), params, x)[0] for _ in range(3)
    )
    print(
        f"compile: 1 step {compile_1:.2f} s, {STEPS} steps {compile_20:.2f} s, "
        f"50 steps {compile_50:.2f} s, ratio {compile_50 / compile_1:.2f}"
    )
    if compile_50 > 1.3 * compile_1:
        failed.append("50 steps compile as quickly as one")

    for claim in failed:
        print(f"does not hold: {claim}")
    print("all claims hold" if not failed else "")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
