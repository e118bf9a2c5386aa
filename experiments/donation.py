"""What it saves that a training step writes its new state over the old one (donated buffers).

    taskset -c 0 python experiments/donation.py --config=configs/quickstart.py

The same step compiled with and without, of random weights, images and captions: the compiler's
account of its memory, and its time in turns, median of the rounds' ratios.
"""

import argparse
import functools
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import numpy as np

from dalle_jax.config.load import load_config
from dalle_jax.cost import compiled
from dalle_jax.stages import build_stage
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, tree_shardings
from dalle_jax.training.state import create_state, init_state
from dalle_jax.training.step import make_train_step


def main() -> None:
    """Compile both, run them in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    config = load_config(args.config, []).to_dict()
    train, tokens = config["decoder"]["train"], config["tokenizer"]
    stage, mesh = build_stage("decoder", config), make_mesh({"data": 1})
    optimizer = make_optimizer(**train["optimizer"], steps=train["steps"])
    init = functools.partial(create_state, stage, optimizer)
    shardings = tree_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    step = make_train_step(
        stage, optimizer, mesh=mesh, state_shardings=shardings, ema_decay=train["ema_decay"]
    )
    rng, size = np.random.default_rng(0), (train["batch_size"], *stage.image_shape)
    text = (train["batch_size"], tokens["max_length"])
    batch = {
        "image": rng.integers(0, 256, size, np.uint8),
        "tokens": rng.integers(1, tokens["vocab_size"], text, np.int32),
    }
    programs, states, seconds = {}, {}, {}
    for name, function in {"with": step, "without": jax.jit(step.__wrapped__)}.items():
        states[name] = init_state(init, jax.random.key(0), shardings)
        programs[name] = function.lower(states[name], {}, batch, jax.random.key(1)).compile()
        seconds[name] = []
    for _ in range(args.rounds + 2):  # the first two warm up
        for name, program in programs.items():
            began = time.perf_counter()
            states[name], metrics = program(states[name], {}, batch, jax.random.key(1))
            jax.block_until_ready((states[name], metrics))
            seconds[name].append(time.perf_counter() - began)
    for name, program in programs.items():
        peak = compiled.memory(program).peak / 2**20
        print(f"{name:8} {peak:8.1f} MiB {1e3 * np.median(seconds[name][2:]):8.1f} ms")
    ratios = np.divide(seconds["without"][2:], seconds["with"][2:])
    print(f"without : with {np.median(ratios):.3f} {np.quantile(ratios, (0.25, 0.75)).round(3)}")


if __name__ == "__main__":
    main()
