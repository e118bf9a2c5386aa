"""`fit` on a tiny stage as one of several processes: PORT COUNT OWN RUN_DIR [DIE_AT].

With DIE_AT the last process is no more when it should read that batch.
"""

import os
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from dalle_jax.train import distributed
from dalle_jax.train.loop import fit
from dalle_jax.train.optim import make_optimizer
from tests.train.tiny import Batches, TinyStage


class Dying(Batches):
    def __init__(self, die_at: int):
        super().__init__()
        self.die_at = die_at

    def __next__(self):
        if self.k == self.die_at and jax.process_index() == jax.process_count() - 1:
            os._exit(9)
        return super().__next__()


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
    port, count, own, run_dir = *map(int, sys.argv[1:4]), sys.argv[4]
    batches, steps = Batches(), 6
    if len(sys.argv) > 5:
        batches, steps = Dying(int(sys.argv[5])), 1000
    place = distributed.find_place(f"127.0.0.1:{port}", count, own, {})
    distributed.join(place)
    with distributed.in_turn("say who is there"), open(f"{run_dir}/turns", "a") as file:
        file.write(f"{own}\n")
    with distributed.naming_the_dead():
        state = train(run_dir, batches, mesh={"data": 1, "fsdp": -1}, steps=steps)
    params = multihost_utils.process_allgather(state.params, tiled=True)
    leaves = {str(i): np.asarray(x) for i, x in enumerate(jax.tree.leaves(params))}
    np.savez(f"{run_dir}/params_{own}.npz", **leaves)


if __name__ == "__main__":
    main()
