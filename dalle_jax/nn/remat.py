"""Rematerialisation: blocks that forget their activations and compute them again for the gradient.

It changes how a gradient is computed, not what it is. So it is no part of a model's config: models
say which of their parts are blocks (`run_block`), and whoever trains says, around the training as
with `jax.default_matmul_precision`, what of a block is kept (`rematerialized`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax


def _is_convolution(primitive, *_, **__) -> bool:
    return primitive.name == "conv_general_dilated"


# What of a block is kept for its gradient, beside its input.
POLICIES = {
    "none": jax.checkpoint_policies.everything_saveable,
    # Outputs of linear and convolutional layers; norms, activations and attention are done again.
    "products": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _is_convolution
    ),
    "blocks": jax.checkpoint_policies.nothing_saveable,
}

_policy: ContextVar[str] = ContextVar("remat", default="none")


@contextmanager
def rematerialized(policy: str) -> Iterator[None]:
    """What is traced inside keeps, of each block, what `policy`, a key of `POLICIES`, says.

    Raises:
        ValueError: there is no such policy.
    """
    if policy not in POLICIES:
        raise ValueError(
            f"no rematerialisation is called {policy!r}; choose one of {', '.join(POLICIES)}"
        )
    token = _policy.set(policy)
    try:
        yield
    finally:
        _policy.reset(token)


def run_block(block: nn.Module, *arrays: Any, in_loop: bool = False, **static: Any) -> Any:
    """`block(*arrays, **static)`, its activations kept or computed again as `rematerialized` says.

    Parameters have the same names either way. `in_loop` says that this is the body of a scan.
    """
    policy = _policy.get()
    if policy == "none":
        return block(*arrays, **static)
    call = nn.remat(
        lambda module, *args: module(*args, **static),
        policy=POLICIES[policy],
        # Two loops can't be found equal and merged: no barrier has to keep them apart.
        prevent_cse=not in_loop,
    )
    return call(block, *arrays)
