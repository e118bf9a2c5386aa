"""A barrier against XLA's fusion on CPUs."""

import jax
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata


def computed_once(x: Array) -> Array:
    """x unchanged; x and the gradient through it are each computed once and stored.

    On a CPU XLA fuses a cheap sum into each layer that reads it: the sum of the residual branches
    would be recomputed for the moments, the affine map and the skip of each block. A call that is
    not inlined stops the fusion, which an `optimization_barrier` does not, since XLA removes it
    earlier. Measurements are in docs/log/performance.md.
    """
    return _written(x) if jax.default_backend() == "cpu" else x


@jax.custom_vjp
def _written(x: Array) -> Array:
    with set_xla_metadata(inlineable="false"):
        return _call(x)


_written.defvjp(lambda x: (_written(x), None), lambda _, gradient: (_written(gradient),))
_call = jax.jit(lambda x: x)
