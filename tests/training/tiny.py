"""A stage and an iterator as small as can be, whose every step depends on noise and data."""

import dataclasses
import itertools
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dalle_jax.stages.base import Stage
from dalle_jax.training.loop import fit
from dalle_jax.training.optim import make_optimizer
from dalle_jax.training.signals import Interrupted
from dalle_jax.training.training import Hooks, Settings, Training


class Net(nn.Module):
    width: int = 128

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width, name="in")(x)
        x = nn.LayerNorm(name="norm")(x)
        x = nn.Dense(self.width, name="mlp_up")(nn.gelu(x))
        return nn.Dense(3, name="out")(nn.gelu(x))


class TinyStage(Stage):
    """Predicts a pixel from itself and noise; `noise` = 0 makes the loss a mean over samples."""

    def __init__(self, noise: float = 1.0, width: int = 128):
        self.net, self.noise = Net(width), noise

    def init(self, key):
        return self.net.init(key, jnp.zeros((1, 3)))["params"]

    def loss(self, params, frozen, batch, key, *, train):
        x = batch["image"].astype(jnp.float32).mean((1, 2)) / 127.5 - 1
        noisy = x + self.noise * jax.random.normal(key, x.shape)
        error = jnp.square(self.net.apply({"params": params}, noisy) - x)
        return error.mean(), {"red": error[:, 0].mean()}


@jax.custom_vjp
def bad_gradient(x, bad):
    """0, whose gradient with respect to x is `bad`."""
    return 0.0 * x


bad_gradient.defvjp(lambda x, bad: (0.0 * x, bad), lambda bad, g: (bad * g, None))


class SlowStage(TinyStage):
    """Calls `during()` while a step computes."""

    def __init__(self, during):
        super().__init__()
        self.during = during

    def loss(self, params, frozen, batch, key, *, train):
        jax.debug.callback(self.during)
        return super().loss(params, frozen, batch, key, train=train)


class Batches:
    """Endless; batch k is a function of only (seed, k); batch `bad_at` is black.

    Of several processes each gets its share.
    """

    def __init__(self, batch_size: int = 16, seed: int = 0, bad_at: int | None = None):
        self.batch_size, self.seed, self.bad_at, self.k = batch_size, seed, bad_at, 0

    def __iter__(self):
        return self

    def __next__(self):
        rng = np.random.default_rng((self.seed, self.k))
        images = rng.integers(0, 256, (self.batch_size, 4, 4, 3), dtype=np.uint8)
        images *= self.k != self.bad_at
        self.k += 1
        share = self.batch_size // jax.process_count()
        return {"image": images[jax.process_index() * share :][:share]}

    def get_state(self):
        return {"k": self.k}

    def set_state(self, state):
        self.k = state["k"]


def tiny_training(run_dir, *, hooks=None, steps=24, **others):
    """24 steps with everything on: logs, validation, previews, checkpoints."""
    settings = {"mesh": {"data": -1}, "log_every": 4, "validate_every": 8, "preview_every": 12}
    settings |= {"seed": 3, "ema_decay": 0.9, "checkpoint_every": 5}
    for name in [field.name for field in dataclasses.fields(Settings) if field.name in others]:
        settings[name] = others.pop(name)
    made = {
        "validation": lambda: itertools.islice(Batches(seed=99), 2),
        "preview": lambda params, step, wait: np.full((4, 6, 3), step, np.uint8),
    }
    defaults = {"stage": TinyStage(), "batches": Batches()}
    defaults["optimizer"] = make_optimizer(
        learning_rate=1e-2, steps=24, warmup_steps=4, decay="cosine", clip_norm=1.0
    )
    return Training(
        run_dir=Path(run_dir),
        settings=Settings(steps=steps, **settings),
        hooks=Hooks(**made | (hooks or {})),
        **defaults | others,
    )


def fit_tiny(run_dir, **others):
    """Train `tiny_training` with other hooks, settings or parts."""
    return fit(tiny_training(run_dir, **others))


def main(run_dir):
    """`fit_tiny` as a program that can be killed.

    SLOW is a pause in seconds, in the reading of each batch and in each step; MOMENT a file that
    says in which of them it is, and of which batch; TAKEN a file that gets the number of each batch
    that is read; COORDINATOR, "HOST:PORT NUMBER OF", makes it one of several processes.
    """
    pause, moment = float(os.environ.get("SLOW", "0")), os.environ.get("MOMENT", os.devnull)
    if "COORDINATOR" in os.environ:
        address, number, of = os.environ["COORDINATOR"].split()
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(address, int(of), int(number))
    file = os.open(moment, os.O_WRONLY | os.O_CREAT)
    taken = os.open(os.environ.get("TAKEN", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def rest(where):
        os.pwrite(file, f"{where} {batches.k:4d}".encode(), 0)
        time.sleep(pause)

    class SlowBatches(Batches):
        def __next__(self):
            rest("read")
            os.write(taken, b"%d\n" % self.k)
            return super().__next__()

    batches = SlowBatches()
    try:
        fit_tiny(run_dir, batches=batches, stage=SlowStage(lambda: rest("step")))
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
