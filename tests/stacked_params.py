"""The parameters of a network without `scan_blocks` as one with it holds them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def stacked(params: Mapping[str, Any]) -> dict[str, Any]:
    """`block_0`, `block_1`, … wherever they stand side by side, as one `blocks`."""
    rest = {
        name: stacked(value) if isinstance(value, Mapping) else value
        for name, value in params.items()
        if not name.startswith("block_")
    }
    blocks = [params[f"block_{i}"] for i in range(len(params) - len(rest))]
    if blocks:
        rest["blocks"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    return rest
