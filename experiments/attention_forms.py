"""Attention as this project writes it for a CPU beside jax.nn.dot_product_attention.

    taskset -c 0 python experiments/attention_forms.py

The gradient of one block of the quickstart's widths over a feature map and a caption of 12 words,
16 images in float32, compiled with either form: the compiler's account of its memory, and its CPU
time in turns, with the median and quartiles of the rounds' ratios.
"""

import argparse
import time
from unittest import mock

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.cost import compiled
from dalle_jax.nn import attention

BATCH, CHANNELS, HEAD, WORDS = 16, 96, 32, 12
FORMS = {"ours": attention.attend, "jax.nn": jax.nn.dot_product_attention}


def main() -> None:
    """Compile both for each size of map, run them in turns, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    print("| map | ours, MiB | jax.nn, MiB | ours, ms | jax.nn, ms | ours : jax.nn |")
    print("|---|---|---|---|---|---|")
    block = attention.SpatialAttention(head_channels=HEAD, norm_groups=8)
    for side in (16, 8, 4):
        key = jax.random.key(0)
        x = jax.random.normal(key, (BATCH, side, side, CHANNELS))
        context = jax.random.normal(key, (BATCH, WORDS, CHANNELS))
        inputs = (block.init(key, x, context), x, context)

        def loss(params, x, context):
            return jnp.square(block.apply(params, x, context)).mean()

        programs, seconds = {}, {}
        for name, form in FORMS.items():
            with mock.patch.object(attention, "attend", form):
                gradient = jax.jit(jax.grad(lambda *of: loss(*of), argnums=(0, 1, 2)))
                programs[name] = gradient.lower(*inputs).compile()
            seconds[name] = []
        for _ in range(rounds + 2):  # the first two warm up
            for name, program in programs.items():
                began = time.process_time()
                jax.block_until_ready(program(*inputs))
                seconds[name].append(time.process_time() - began)
        peaks = [f"{compiled.memory(program).peak / 2**20:.1f}" for program in programs.values()]
        times = [f"{1e3 * np.median(of[2:]):.1f}" for of in seconds.values()]
        ratios = np.divide(seconds["ours"][2:], seconds["jax.nn"][2:])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        cells = [f"{side} × {side}", *peaks, *times, f"{middle:.2f} ({low:.2f}–{high:.2f})"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
