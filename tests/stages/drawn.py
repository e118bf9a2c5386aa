"""Parameters for tests: drawn in an instant, and off every special start, such as zeros."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(stage):
    """Of the shapes of `stage.init`: small, and about 1 where they scale."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        return jnp.asarray(np.float32(path[-1].key == "scale") + np.float32(0.15) * noise)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(stage.init, jax.random.key(0)))
