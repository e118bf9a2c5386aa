"""Inception weights of the published shapes with random values, for tests."""

import numpy as np

from dalle_jax.interop.inception import published_shapes


def random_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """By torch's names; the activations keep about the scale of the input."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in published_shapes().items():
        if name.endswith("conv.weight"):
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "bn.weight")):
            value = rng.uniform(0.5, 1.5, shape)
        elif name == "fc.weight":
            value = rng.normal(size=shape) / np.sqrt(shape[1])
        else:
            value = 0.1 * rng.normal(size=shape)
        tensors[name] = value.astype(np.float32)
    return tensors


def random_images(n: int, seed: int = 0, size: int = 32) -> np.ndarray:
    """Smooth colored noise that differs from image to image, uint8 [n, size, size, 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (n, 4, 4, 3)) * rng.uniform(0.3, 1, (n, 1, 1, 3))
    fine = np.repeat(np.repeat(coarse, size // 4, 1), size // 4, 2)
    return (fine + rng.normal(0, 10, fine.shape)).clip(0, 255).astype(np.uint8)
