"""What it saves that batches are prepared, and their numbers read, while the device computes.

    python experiments/overlap.py --config=configs/sketch.py

A decoder's training step of random weights in a loop over noise of 512 × 512 pixels, which takes
longer to shrink than to sample: with threads that prepare batches or none, and reading each step's
metrics one step later, as training does, or at once. In turns; needs a core to spare.
"""

import argparse
import functools
import itertools
import time

from dalle_jax import cpu

if __name__ == "__main__":
    cpu.restart_with_heap()

import jax
import numpy as np

from dalle_jax.config.load import load_config
from dalle_jax.cost.bench import RandomItems
from dalle_jax.data.loader import make_loader
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.stages import build_stage
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.sharding import make_mesh, put_batch, tree_shardings
from dalle_jax.training.state import create_state, init_state
from dalle_jax.training.step import make_train_step

SIDE, THREADS, AHEAD = 512, {"two threads": 2, "no thread": 0}, {"a step later": 1, "at once": 0}


def main() -> None:
    """Run the four loops in turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/sketch.py")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block", type=int, default=10, help="steps a round")
    args = parser.parse_args()
    config = load_config(args.config, []).to_dict()
    train, tokens = config["decoder"]["train"], config["tokenizer"]
    stage, mesh = build_stage("decoder", config), make_mesh({"data": 1})
    optimizer = make_optimizer(**train["optimizer"], steps=train["steps"])
    init = functools.partial(create_state, stage, optimizer)
    shardings = tree_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    state = init_state(init, jax.random.key(0), shardings)
    step = make_train_step(
        stage, optimizer, mesh=mesh, state_shardings=shardings, ema_decay=train["ema_decay"]
    )
    items = RandomItems(SIDE, count=128)
    captions = (items[i]["caption"] for i in range(len(items)))
    tokenizer = Tokenizer(train_tokenizer(captions, tokens["vocab_size"]), tokens["max_length"])
    of_loader = {"batch_size": train["batch_size"], "image_size": config["data"]["image_size"]}
    loaders = {  # nothing is cached, so that each batch has its full cost
        name: make_loader(items, tokenizer, num_threads=count, memory_limit=0, **of_loader)
        for name, count in THREADS.items()
    }

    def loop(loader, ahead: int) -> float:
        """Milliseconds a step."""
        nonlocal state
        began, waiting = time.perf_counter(), []
        for _ in range(args.block):
            state, metrics = step(state, {}, put_batch(next(loader), mesh), jax.random.key(1))
            waiting.append(metrics)
            if len(waiting) > ahead:
                jax.device_get(waiting.pop(0))
        jax.device_get(waiting)
        return 1e3 * (time.perf_counter() - began) / args.block

    ways = list(itertools.product(THREADS, AHEAD))
    times = {way: [] for way in ways}
    for _ in range(args.rounds + 1):  # the first warms up
        for threads, read in ways:
            times[threads, read].append(loop(loaders[threads], AHEAD[read]))
    print("| batches prepared by | numbers read | ms a step | ratio to the first |")
    print("|---|---|---|---|")
    for way in ways:
        ratios = np.divide(times[way][1:], times[ways[0]][1:])
        print(f"| {' | '.join(way)} | {np.median(times[way][1:]):.0f} | {np.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
