"""Low-rank adapters, LoRA (Hu et al. 2021): W + (α / r) A B in place of a kernel W that stays.

A kernel of more axes, as of a convolution, counts as the matrix [m, n] = [all other axes, last]; a
kernel of stacked blocks is as many matrices. A [m, r] is random and B [r, n] 0 at the start, so
that the first step's network is the one that is adapted. Other parameters stay as they are.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from dalle_jax.training.sharding import is_stacked

BASE = "base"  # among frozen weights: those that are adapted
Params = Any  # a tree of arrays


class Adapted:
    """A stage whose parameters are adapters; its weights are `frozen["base"]`.

    Args:
        stage: a `stages.base.Stage`.
        rank: r.
        alpha: α.

    Raises:
        ValueError: the stage's gradient is not that of its loss, as CLIP's with `sam_radius`.
    """

    def __init__(self, stage: Any, *, rank: int, alpha: float):
        if stage.num_gradients > 1:
            raise ValueError(
                "adapters are trained with the gradient of the loss, and this stage takes "
                f"{stage.num_gradients}; set train.lora.rank or the stage's sam_radius to 0"
            )
        self.stage, self.rank, self.scale = stage, rank, alpha / rank
        self.num_gradients = 1

    def init(self, key: jax.Array) -> Params:
        """Adapters of all kernels."""
        return init_adapters(key, jax.eval_shape(self.stage.init, key), self.rank)

    def loss(self, params: Params, frozen: Any, batch: Any, key: jax.Array, *, train: bool) -> Any:
        """The stage's loss and metrics with adapted weights."""
        weights = adapted(frozen[BASE], params, self.scale)
        return self.stage.loss(weights, frozen, batch, key, train=train)

    def value_and_grad(self, params: Params, frozen: Any, batch: Any, key: jax.Array) -> Any:
        """((loss, metrics), gradient by the adapters)."""
        gradient_of = jax.value_and_grad(self.loss, has_aux=True)
        return gradient_of(params, frozen, batch, key, train=True)

    def has_preview(self) -> bool:
        """Whether `preview` makes images."""
        return self.stage.has_preview()

    def preview(
        self, params: Params, frozen: Any, batch: Any, key: jax.Array, **settings: Any
    ) -> Any:
        """The stage's images with adapted weights."""
        weights = adapted(frozen[BASE], params, self.scale)
        return self.stage.preview(weights, frozen, batch, key, **settings)


def init_adapters(key: jax.Array, params: Params, rank: int) -> Params:
    """{…: {"lora_a": [m, r], "lora_b": [r, n]}} where `params`, or shapes, have a kernel [m, n].

    A is normal of variance 1 / m. Of stacked blocks both have the axis of blocks first.
    """
    adapters = {}
    for i, (name, kernel) in enumerate(_kernels(params).items()):
        *stack, m, n = _matrix(name, kernel.shape)
        noise = jax.random.normal(jax.random.fold_in(key, i), (*stack, m, rank))
        adapters[f"{_layer(name)}lora_a"] = noise / m**0.5
        adapters[f"{_layer(name)}lora_b"] = jnp.zeros((*stack, rank, n))
    return traverse_util.unflatten_dict(adapters, sep="/")


def adapted(params: Params, adapters: Params, scale: float) -> Params:
    """The parameters with W + scale · A B for each kernel W; `scale` is α / r."""
    flat, given = (traverse_util.flatten_dict(tree, sep="/") for tree in (params, adapters))
    for name, kernel in _kernels(params).items():
        a, b = given[f"{_layer(name)}lora_a"], given[f"{_layer(name)}lora_b"]
        flat[name] = kernel + scale * (a @ b).reshape(kernel.shape)
    return traverse_util.unflatten_dict(flat, sep="/")


def _kernels(params: Params) -> Mapping[str, Any]:
    flat = traverse_util.flatten_dict(params, sep="/")
    return {name: flat[name] for name in sorted(flat) if name.split("/")[-1] == "kernel"}


def _layer(name: str) -> str:
    return name.removesuffix("kernel")


def _matrix(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """[m, n], or [blocks, m, n]."""
    blocks = 1 if is_stacked(name) else 0
    return (*shape[:blocks], prod(shape[blocks:-1]), shape[-1])
