"""What the forms of layers for a CPU give to the quickstart's gradient, in turns.

    PYTHONPATH=. taskset -c 0 python experiments/network_forms.py

The loss' gradient of 16 images as it is, and with XLA's own form in place of one or of both:
convolutions by Winograd's way, and norms whose input is computed once; and without the number near
the mean that norms take away first, which they need where |mean| is many deviations. Each in a
process of its own, of which one at a time computes; milliseconds of CPU time, of the rounds' ratios
to the first line median and quartiles, and temporaries by the compiler.
"""

import argparse
import functools
import multiprocessing
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import jax.numpy as jnp
import numpy as np

from dalle_jax.configs import quickstart
from dalle_jax.nn import norms, winograd
from dalle_jax.stages import build_stage

LEFT_OUT = {
    "as it is": (),
    "XLA's convolutions": ("winograd",),
    "norms' inputs fused": ("once",),
    "both": ("winograd", "once"),
    "moments without a shift": ("shift",),
}


def serve(connection, left_out) -> None:
    """In a process of its own: computes the gradient when asked, and says how long it took."""
    if "winograd" in left_out:
        winograd.MIN_CHANNELS = 10**9
    if "once" in left_out:
        norms.computed_once = lambda x: x
    if "shift" in left_out:
        norms._near_mean = lambda x, groups: jnp.zeros((x.shape[0], x.shape[-1]))
    config, rng = quickstart.get_config().to_dict(), np.random.default_rng(0)
    stage = build_stage("decoder", config)
    tokens = rng.integers(1, 512, (16, config["tokenizer"]["max_length"]), np.int32)
    batch = {"image": rng.integers(0, 256, (16, 32, 32, 3), np.uint8), "tokens": tokens}
    key = jax.random.key(0)
    params = stage.init(key)
    gradient = jax.jit(jax.grad(functools.partial(stage.loss, train=True), has_aux=True))
    compiled = gradient.lower(params, {}, batch, key).compile()
    connection.send(compiled.memory_analysis().temp_size_in_bytes)
    while connection.recv():
        for _ in range(2):  # what ran before has left the caches in its own state
            jax.block_until_ready(compiled(params, {}, batch, key))
        began = time.process_time()
        jax.block_until_ready(compiled(params, {}, batch, key))
        connection.send(time.process_time() - began)


def main() -> None:
    """Time all in turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--forms", default=",".join(LEFT_OUT), help="the first is compared with")
    args = parser.parse_args()
    rounds, forms = args.rounds, args.forms.split(",")
    start, processes = multiprocessing.get_context("spawn"), {}
    for name, left_out in ((form, LEFT_OUT[form]) for form in forms):
        processes[name], theirs = start.Pipe()
        start.Process(target=serve, args=(theirs, left_out), daemon=True).start()
        theirs.close()  # so that a process that ends is noticed
    memory = {name: process.recv() for name, process in processes.items()}
    seconds = {name: [] for name in processes}
    for _ in range(rounds + 1):  # in the first all is compiled
        for name, process in processes.items():
            process.send(True)
            seconds[name].append(process.recv())
    print("| gradient | ms | as a share of the first | temporaries, MiB |\n|---|---|---|---|")
    whole = np.array(seconds[forms[0]][1:])
    for name, process in processes.items():
        process.send(False)
        own = np.array(seconds[name][1:])
        low, middle, high = np.quantile(own / whole, (0.25, 0.5, 0.75))
        share = f"{middle:.3f} ({low:.3f}–{high:.3f})"
        print(f"| {name} | {1e3 * np.median(own):.1f} | {share} | {memory[name] / 2**20:.1f} |")


if __name__ == "__main__":
    main()
