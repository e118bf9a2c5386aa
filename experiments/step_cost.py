"""What a training step costs: its time, its FLOPs against the machine's, and what the loop adds.

    python experiments/step_cost.py --config=configs/quickstart.py

The loop draws its batches from an iterator of this file, which stops it every `--block` steps to
time as many bare steps, dispatched one after the other with nothing else done. Both run the same
jitted step on batches that are ready on the host. Printed: median times, FLOPs as the compiler
counts them, their share of what a float32 matrix product of 2048 × 2048 reaches between the same
blocks, and the median ratio of loop to bare step over the rounds, with its quartiles.
"""

import argparse
import functools
import tempfile
import time

import numpy as np


class Rounds:
    """Batches for the loop; between blocks, the bare step is timed."""

    def __init__(self, batches: list, block: int, time_bare, matmul_rate):
        self.batches, self.block = batches, block
        self.time_bare, self.matmul_rate = time_bare, matmul_rate
        self.calls, self.loop, self.bare, self.peak = 0, [], [], []

    def __next__(self):
        if self.calls and self.calls % self.block == 0:
            self.loop.append((time.perf_counter() - self.began) / (self.block - 2))
            time.sleep(1.5 * self.loop[-1])  # until the step in flight is done
            self.bare.append(self.time_bare(self.block))
            self.peak.append(self.matmul_rate())
        elif self.calls % self.block == 2:
            # The loop has just read the metrics of the block's first step, as it will have read
            # those of the last but one at the block's end: block − 2 whole steps lie between.
            self.began = time.perf_counter()
        self.calls += 1
        return self.batches[self.calls % len(self.batches)]

    def get_state(self) -> dict:
        """Nothing to go on from."""
        return {}


def main() -> None:
    """Measure and print."""
    from dalle_jax.cli.config import load_config  # before jax: dalle_jax sets XLA's CPU flags

    import jax  # isort: skip

    from dalle_jax.stages import build_stage
    from dalle_jax.train.loop import fit
    from dalle_jax.train.optim import make_optimizer
    from dalle_jax.train.sharding import make_mesh, put_batch, tree_shardings
    from dalle_jax.train.state import create_state, init_state
    from dalle_jax.train.step import make_train_step

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/base.py")
    parser.add_argument("--block", type=int, default=20, help="steps between two turns")
    parser.add_argument("--rounds", type=int, default=20)
    args, overrides = parser.parse_known_args()
    config = load_config(args.config, overrides).to_dict()
    settings, tokenizer = config["decoder"]["train"], config["tokenizer"]
    stage = build_stage("decoder", config)
    size, rows = config["data"]["image_size"], settings["batch_size"]
    rng = np.random.default_rng(0)
    batches = [
        {
            "image": rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8),
            "tokens": rng.integers(
                2, tokenizer["vocab_size"], (rows, tokenizer["max_length"]), dtype=np.int32
            ),
        }
        for _ in range(8)
    ]
    steps = args.block * args.rounds + 1
    optimizer = make_optimizer(**settings["optimizer"], steps=steps)

    mesh = make_mesh(settings["mesh"])
    init = functools.partial(create_state, stage, optimizer)
    shardings = tree_shardings(jax.eval_shape(init, jax.random.key(0)), mesh)
    state = init_state(stage, optimizer, jax.random.key(0), shardings)
    step = make_train_step(
        stage, optimizer, mesh=mesh, state_shardings=shardings, ema_decay=settings["ema_decay"]
    )
    key, on_device = jax.random.key(1), put_batch(batches[0], mesh)
    state, metrics = step(state, None, on_device, key)

    def time_bare(count: int) -> float:
        """Seconds a step, over `count` steps after one that is not counted."""
        nonlocal state, metrics
        state, metrics = step(state, None, on_device, key)
        jax.block_until_ready(metrics)
        began = time.perf_counter()
        for _ in range(count):
            state, metrics = step(state, None, on_device, key)
        jax.block_until_ready((state, metrics))
        return (time.perf_counter() - began) / count

    matrix = jax.random.normal(jax.random.key(2), (2048, 2048))
    product = jax.jit(jax.numpy.matmul)

    def matmul_rate() -> float:
        """FLOP/s of the best of five products."""
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            product(matrix, matrix).block_until_ready()
            seconds.append(time.perf_counter() - began)
        return 2 * 2048**3 / min(seconds)

    flops = step.lower(state, None, on_device, key).compile().cost_analysis()["flops"]
    rounds = Rounds(batches, args.block, time_bare, matmul_rate)
    with tempfile.TemporaryDirectory() as run_dir:
        fit(
            stage,
            rounds,
            run_dir=run_dir,
            steps=steps,
            seed=0,
            optimizer=optimizer,
            mesh=settings["mesh"],
            ema_decay=settings["ema_decay"],
            log_every=settings["log_every"],
            checkpoint_every=steps,
            title="loop",
        )
    loop, bare = np.array(rounds.loop[1:]), np.array(rounds.bare[1:])  # the first compiles
    low, middle, high = np.quantile(loop / bare, [0.25, 0.5, 0.75])
    seconds, peak = np.median(bare), np.median(rounds.peak[1:])
    print(
        f"step of {rows} images: {1e3 * seconds:.1f} ms, {rows / seconds:.1f} images/s, "
        f"{flops / 1e9:.1f} GFLOP, {flops / seconds / 1e9:.0f} GFLOP/s = "
        f"{100 * flops / seconds / peak:.0f} % of the {peak / 1e9:.0f} of a matrix product"
    )
    print(
        f"in the loop: {1e3 * np.median(loop):.1f} ms, ratio to the bare step {middle:.4f} "
        f"(quartiles {low:.4f}, {high:.4f}; {len(loop)} rounds)"
    )


if __name__ == "__main__":
    main()
