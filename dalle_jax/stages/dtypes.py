"""In which numbers a network computes; its parameters are float32 always."""

import jax.numpy as jnp

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dtype_named(name: str) -> jnp.dtype:
    """The dtype that a config's `model.dtype` names.

    Raises:
        ValueError: there is no such one.
    """
    if name not in DTYPES:
        raise ValueError(
            f"no network computes in {name!r}; model.dtype is one of {', '.join(DTYPES)}"
        )
    return jnp.dtype(DTYPES[name])
