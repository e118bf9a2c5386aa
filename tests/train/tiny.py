"""A stage and an iterator as small as can be, whose every step depends on noise and data."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


class Net(nn.Module):
    width: int = 128

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width, name="in")(x)
        x = nn.LayerNorm(name="norm")(x)
        x = nn.Dense(self.width, name="mlp_up")(nn.gelu(x))
        return nn.Dense(3, name="out")(nn.gelu(x))


class TinyStage:
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


class Batches:
    """Endless; batch k is a function of (seed, k) alone."""

    def __init__(self, batch_size: int = 16, seed: int = 0, bad_at: int | None = None):
        self.batch_size, self.seed, self.bad_at, self.k = batch_size, seed, bad_at, 0

    def __iter__(self):
        return self

    def __next__(self):
        rng = np.random.default_rng((self.seed, self.k))
        self.k += 1
        return {"image": rng.integers(0, 256, (self.batch_size, 4, 4, 3), dtype=np.uint8)}

    def get_state(self):
        return {"k": self.k}

    def set_state(self, state):
        self.k = state["k"]
