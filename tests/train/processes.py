"""`fit` on a tiny stage as one of several processes: PORT COUNT OWN RUN_DIR STEPS."""

import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from dalle_jax.data.loader import make_loader
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.train import distributed
from dalle_jax.train.loop import fit
from dalle_jax.train.optim import make_optimizer
from tests.data.test_loader import Numbered, numbers
from tests.train.tiny import TinyStage


class Painted(Numbered):
    """Item i shows its number in its first pixel, and in the others colors of its own."""

    def __getitem__(self, i):
        item = super().__getitem__(i)
        colors = np.random.default_rng(i).integers(0, 256, item["image"].shape, np.uint8)
        colors[0, 0] = item["image"][0, 0]
        return item | {"image": colors}


class Noted:
    """The loader of 48 items; of each batch that is taken the numbers are a line of a file."""

    def __init__(self, path: str):
        self.path = path
        self.loader = make_loader(
            Painted(48),
            Tokenizer(train_tokenizer(["0"], 258), max_length=8),
            batch_size=16,
            image_size=4,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        self.get_state, self.set_state = self.loader.get_state, self.loader.set_state

    def __next__(self):
        batch = next(self.loader)
        with open(self.path, "a") as file:
            print(*numbers(batch), file=file)
        return {"image": batch["image"]}


def train(run_dir, batches, *, mesh, steps=6):
    """Training with logs and checkpoints."""
    return fit(
        TinyStage(),
        batches,
        run_dir=run_dir,
        steps=steps,
        seed=3,
        optimizer=make_optimizer(learning_rate=1e-2, steps=steps, clip_norm=1.0),
        mesh=mesh,
        ema_decay=0.9,
        log_every=1,
        checkpoint_every=3,
    )


def main() -> None:
    port, count, own, run_dir, steps = *map(int, sys.argv[1:4]), sys.argv[4], int(sys.argv[5])
    place = distributed.find_place(f"127.0.0.1:{port}", count, own, {})
    distributed.join(place)
    with distributed.in_turn("say who is there"), open(f"{run_dir}/turns", "a") as file:
        file.write(f"{own}\n")
    batches = Noted(f"{run_dir}/read_{own}")
    with distributed.naming_the_dead():
        state = train(run_dir, batches, mesh={"data": 1, "fsdp": -1}, steps=steps)
    params = multihost_utils.process_allgather(state.params, tiled=True)
    leaves = {str(i): np.asarray(x) for i, x in enumerate(jax.tree.leaves(params))}
    np.savez(f"{run_dir}/params_{own}.npz", **leaves)


if __name__ == "__main__":
    main()
