"""Rematerialization: blocks discard their activations and recompute them for the gradient.

It changes how a gradient is computed, not its value, so it is not part of a model's config. Models
mark their blocks with `run_block`; the training loop chooses what a block stores with the context
manager `rematerialized`, which is used like `jax.default_matmul_precision`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import flax.linen as nn
import jax


def _is_convolution(primitive, *_, **__) -> bool:
    return primitive.name == "conv_general_dilated"


# What a block stores for its gradient in addition to its input.
POLICIES = {
    "none": jax.checkpoint_policies.everything_saveable,
    # Outputs of linear and convolutional layers; norms, activations and attention are recomputed.
    "products": jax.checkpoint_policies.save_from_both_policies(
        jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _is_convolution
    ),
    "blocks": jax.checkpoint_policies.nothing_saveable,
}

_policy: ContextVar[str] = ContextVar("remat", default="none")


@contextmanager
def rematerialized(policy: str) -> Iterator[None]:
    """Set what blocks store while tracing inside this context: `policy` is a key of `POLICIES`.

    Raises:
        ValueError: there is no such policy.
    """
    if policy not in POLICIES:
        raise ValueError(
            f"no rematerialization is called {policy!r}; choose one of {', '.join(POLICIES)}"
        )
    token = _policy.set(policy)
    try:
        yield
    finally:
        _policy.reset(token)


def run_block(block: nn.Module, *arrays: Any, in_loop: bool = False, **static: Any) -> Any:
    """`block(*arrays, **static)`, with activations stored or recomputed as `rematerialized` sets.

    The parameters have the same names either way. `in_loop` marks the body of a scan.
    """
    policy = _policy.get()
    if policy == "none":
        return block(*arrays, **static)
    call = nn.remat(
        lambda module, *args: module(*args, **static),
        policy=POLICIES[policy],
        # XLA does not merge the forward and the backward loop, so no barrier is needed.
        prevent_cse=not in_loop,
    )
    return call(block, *arrays)
