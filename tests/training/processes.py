"""`fit` on a tiny stage as one of several processes: PORT COUNT OWN RUN_DIR STEPS [FAULT].

FAULT is what goes wrong in the last of them: "nan", "worker", "hang" or "read".
"""

import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from dalle_jax.cli.main import exit_code
from dalle_jax.data.loader import make_loader
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.training import distributed
from dalle_jax.training.loop import fit
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.training import Settings, Training
from tests.data.test_loader import Numbered, numbers
from tests.training.tiny import TinyStage

FAULTY = 5  # the batch at which something goes wrong


class Painted(Numbered):
    """Item i shows its number in its first pixel, and in the others colors of its own.

    After `readable` of them nothing can be read any more: an error, or no answer at all.
    """

    def __init__(self, n: int, readable: float = np.inf, answers: bool = True):
        super().__init__(n)
        self.readable, self.answers = readable, answers

    def __getitem__(self, i):
        self.readable -= 1
        if self.readable < 0 and not self.answers:
            threading.Event().wait()
        if self.readable < 0:
            raise OSError(f"item {i} is on a disk that is lost")
        item = super().__getitem__(i)
        colors = np.random.default_rng(i).integers(0, 256, item["image"].shape, np.uint8)
        colors[0, 0] = item["image"][0, 0]
        return item | {"image": colors}


class Blinded(TinyStage):
    """Its loss is not a number where an image is black."""

    def loss(self, params, frozen, batch, key, *, train):
        loss, metrics = super().loss(params, frozen, batch, key, train=train)
        black = (batch["image"].max((1, 2, 3)) == 0).any()
        return jnp.where(black, jnp.nan, loss), metrics


class Noted:
    """The loader of 48 items; of each batch that is taken the numbers are a line of a file.

    With the fault "nan" batch `FAULTY` is black, with "worker" it can't be read, with "hang" its
    reading does not end.
    """

    def __init__(self, path: str, fault: str = ""):
        self.path, self.taken, self.fault = path, 0, fault
        share = 16 // jax.process_count()
        readable = (FAULTY - 1) * share if fault in ("worker", "hang") else np.inf
        self.loader = make_loader(
            Painted(48, readable, answers=fault != "hang"),
            Tokenizer(train_tokenizer(["0"], 258), max_length=8),
            batch_size=16,
            image_size=4,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            patience=20 if fault == "hang" else 600,
        )
        self.get_state, self.set_state = self.loader.get_state, self.loader.set_state

    def __next__(self):
        batch, self.taken = next(self.loader), self.taken + 1
        if self.fault == "nan" and self.taken == FAULTY:
            return {"image": np.zeros_like(batch["image"])}
        with open(self.path, "a") as file:
            print(*numbers(batch), file=file)
        return {"image": batch["image"]}


def train(run_dir, batches, *, mesh, steps=6, stage=None):
    """Training with logs and checkpoints."""
    optimizer = make_optimizer(learning_rate=1e-2, steps=steps, clip_norm=1.0)
    settings = Settings(steps, 0.9, seed=3, mesh=mesh, log_every=1, checkpoint_every=3)
    return fit(Training(stage or TinyStage(), batches, Path(run_dir), optimizer, settings))


def fail_to_read_once() -> None:
    """Have the next reading of a checkpoint fail, as one of a torn file does."""
    read = ocp.CompositeCheckpointHandler.restore

    def fail(*_, **__):
        ocp.CompositeCheckpointHandler.restore = read
        raise ValueError("DATA_LOSS: no array is whole")

    ocp.CompositeCheckpointHandler.restore = fail


def main() -> None:
    fault = sys.argv[6] if len(sys.argv) > 6 and sys.argv[2] == str(int(sys.argv[3]) + 1) else ""
    port, count, own, run_dir, steps = *map(int, sys.argv[1:4]), sys.argv[4], int(sys.argv[5])
    address = distributed.find_address(f"127.0.0.1:{port}", count, own, {})
    distributed.join(address)
    with distributed.in_turn("say who is there"), open(f"{run_dir}/turns", "a") as file:
        file.write(f"{own}\n")
    batches = Noted(f"{run_dir}/read_{own}", fault)
    if fault == "read":
        fail_to_read_once()
    with distributed.naming_the_dead():
        state = train(run_dir, batches, mesh={"data": 1, "fsdp": -1}, steps=steps, stage=Blinded())
    params = multihost_utils.process_allgather(state.params, tiled=True)
    leaves = {str(i): np.asarray(x) for i, x in enumerate(jax.tree.leaves(params))}
    np.savez(f"{run_dir}/params_{own}.npz", **leaves)


if __name__ == "__main__":
    sys.exit(exit_code("train", main))
