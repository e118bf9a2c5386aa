"""A 3 × 3 convolution by XLA and by Winograd's way, without and with its gradient, in turns.

    taskset -c 0 python experiments/convolution_forms.py

Milliseconds of CPU time, medians, of 16 images at the sizes of the quickstart's U-Net, and the
largest difference of the two as a share of the result's deviation.
"""

import argparse
import functools
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import numpy as np

from dalle_jax.nn.winograd import winograd

SIZES = ((16, 48, 48), (16, 96, 48), (16, 144, 48), (8, 96, 96), (8, 192, 96), (4, 192, 96))


def direct(x, kernel):
    """As XLA does it."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


@functools.partial(jax.jit, static_argnums=0)
def with_gradient(convolution, x, kernel, dy):
    """The result and both gradients."""
    y, back = jax.vjp(convolution, x, kernel)
    return y, *back(dy)


def main() -> None:
    """Time both in turns; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    print(
        "| sides, channels | forward, direct | Winograd | with gradient, direct | Winograd | off |"
    )
    print("|---" * 6 + "|")
    for side, channels, out in SIZES:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(16, side, side, channels)).astype(np.float32)
        kernel = rng.normal(size=(3, 3, channels, out)).astype(np.float32)
        dy = rng.normal(size=(16, side, side, out)).astype(np.float32)
        forward = [jax.jit(form) for form in (direct, winograd)]
        calls = [functools.partial(form, x, kernel) for form in forward]
        calls += [functools.partial(with_gradient, f, x, kernel, dy) for f in (direct, winograd)]
        seconds = [[] for _ in calls]
        for _ in range(args.rounds + 2):
            for call, own in zip(calls, seconds):
                began = time.process_time()
                jax.block_until_ready(call())
                own.append(time.process_time() - began)
        a, b, c, d = (f"{1e3 * np.median(own[2:]):.2f}" for own in seconds)
        exact, other = (np.asarray(form(x, kernel)) for form in forward)
        off = np.abs(exact - other).max() / exact.std()
        print(f"| {side} × {side}, {channels} → {out} | {a} | {b} | {c} | {d} | {off:.0e} |")


if __name__ == "__main__":
    main()
