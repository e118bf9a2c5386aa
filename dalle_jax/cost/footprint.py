"""What a training step takes of a device's memory and of the wires, from shapes and specs only.

What lies on a device between two steps (parameters, their average, the optimizer's state) is exact.
What is stored for the gradient is what JAX's differentiation asks for, before the compiler fuses or
reorders anything: more than the compiled program stores. What is sent is that of ring algorithms
under the plan that the specs are made for: weights cut over fsdp are gathered before they are used
and their gradients scattered, gradients are averaged over data.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jax.sharding import AbstractMesh, Mesh

from dalle_jax.training.sharding import is_stacked, path_name, rule_of


def num_bytes(tree: Any) -> int:
    """Of all arrays of `tree`, whole."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def device_bytes(tree: Any, mesh: Mesh | AbstractMesh) -> int:
    """Of what one device holds of `tree`, cut by `sharding.RULES`."""
    return sum(
        leaf.size * leaf.dtype.itemsize // math.prod(mesh.shape[axis] for axis in cut_over(spec))
        for leaf, spec in _with_specs(tree, mesh)
    )


def cut_over(spec: Sequence[str | None]) -> tuple[str, ...]:
    """The mesh axes that a spec cuts an array over."""
    return tuple(axis for axis in spec if axis is not None)


def _with_specs(tree: Any, mesh: Mesh | AbstractMesh) -> list[tuple[Any, Any]]:
    return [
        (leaf, rule_of(path_name(path)).spec(leaf.shape, mesh))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def gathered_arrays(
    tree: Any, mesh: Mesh | AbstractMesh, *, stacked: bool | None = None
) -> list[int]:
    """Bytes on one device of each array that is cut over fsdp, once it is gathered for use.

    Stacked blocks are gathered one after the other, each counted for itself. `stacked` asks for
    only their arrays, or only all others.
    """
    sizes = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = path_name(path)
        spec, loop = rule_of(path).spec(leaf.shape, mesh), is_stacked(path)
        if "fsdp" in spec and stacked in (None, loop):
            turns = leaf.shape[0] if loop else 1
            sizes += turns * [_gathered(leaf, spec, mesh) // turns]
    return sizes


def _gathered(leaf: Any, spec: Sequence[str | None], mesh: Mesh | AbstractMesh) -> int:
    return leaf.size * leaf.dtype.itemsize // (mesh.shape["tensor"] if "tensor" in spec else 1)


class Traffic(NamedTuple):
    """Bytes that each device sends in one step."""

    gathered: float  # weights, over fsdp
    scattered: float  # gradients, summed over fsdp and cut
    reduced: float  # gradients, summed over data (and fsdp where not cut) and held by all


def traffic(params: Any, frozen: Any, mesh: Mesh | AbstractMesh, gradients: int = 1) -> Traffic:
    """What the plan sends in a step that takes `gradients` gradients one after the other.

    With n devices on a ring and an array of P bytes each device sends (n − 1) / n · P to gather or
    to scatter it and twice that to sum it everywhere. Trained weights are gathered twice a
    gradient, for the forward and the backward pass, frozen ones once; where nothing is computed
    again the compiler keeps what it gathered, and sends half of that. Weights are counted in the
    float32 that they are stored in. What "tensor" sends, sums
    of activations, is the model's affair and not counted here.
    """
    sizes = mesh.shape

    def ring(n: int) -> float:
        return (n - 1) / n

    gathered = scattered = reduced = 0.0
    for leaf, spec in _with_specs(params, mesh):
        size = _gathered(leaf, spec, mesh)
        if "fsdp" in spec:
            gathered += 2 * ring(sizes["fsdp"]) * size
            scattered += ring(sizes["fsdp"]) * size
            reduced += 2 * ring(sizes["data"]) * size / sizes["fsdp"]
        else:
            reduced += 2 * ring(sizes["data"] * sizes["fsdp"]) * size
    gathered += ring(sizes["fsdp"]) * sum(gathered_arrays(frozen, mesh))
    return Traffic(gradients * gathered, gradients * scattered, gradients * reduced)


class Residuals(NamedTuple):
    """Bytes that the forward pass leaves for the gradient, over all devices."""

    activations: int  # what depends on the batch
    weights: int  # made of the weights only, as their casts to another dtype
    block: int  # activations of the largest block that is computed again; 0 if none is


def gradient_residuals(loss: Callable, params: Any, frozen: Any, batch: Any, key: Any) -> Residuals:
    """What differentiating loss(params, frozen, batch, key) by params keeps; arrays are abstract.

    Parameters and batch themselves are not counted.
    """
    values, tree = jax.tree.flatten((params, frozen, batch, key))
    num_params, num_frozen = len(jax.tree.leaves(params)), len(jax.tree.leaves(frozen))
    varies = [i >= num_params + num_frozen for i in range(len(values))]
    differentiated = [i < num_params for i in range(len(values))]

    def flat_loss(*values):
        return loss(*jax.tree.unflatten(tree, values))

    activations, weights = _residuals(flat_loss, values, differentiated, varies)
    block = _largest_block(jax.make_jaxpr(flat_loss)(*values), varies)
    return Residuals(activations, weights, block)


def _residuals(
    function: Callable, values: Sequence[Any], differentiated: Sequence[bool], varies: Sequence
) -> tuple[int, int]:
    """Bytes of what the pullback holds that depends on inputs that vary, and of the rest."""

    def pullback(*values):
        fixed = [None if d else value for value, d in zip(values, differentiated)]

        def of_differentiated(*moving):
            moving = iter(moving)
            return function(*[next(moving) if f is None else f for f in fixed])

        return jax.vjp(of_differentiated, *[v for v, d in zip(values, differentiated) if d])[1]

    jaxpr = jax.make_jaxpr(pullback)(*values).jaxpr
    varying = _varying(jaxpr, varies)
    saved = {var for var in jaxpr.outvars if not isinstance(var, Literal)} - set(jaxpr.invars)
    return _bytes(saved & varying), _bytes(saved - varying)


def _varying(jaxpr: Any, varies: Sequence[bool]) -> set:
    """The variables of `jaxpr` that depend on an input that varies."""
    varying = {var for var, moves in zip(jaxpr.invars, varies) if moves}
    for equation in jaxpr.eqns:
        if any(not isinstance(var, Literal) and var in varying for var in equation.invars):
            varying.update(equation.outvars)
    return varying


def _largest_block(closed: ClosedJaxpr, varies: Sequence[bool]) -> int:
    """Activations inside the largest part of a loss that is under `jax.checkpoint`.

    Of blocks in a loop one is at work at a time.
    """
    varying, sizes = _varying(closed.jaxpr, varies), {}
    rematerialized = jax.make_jaxpr(jax.checkpoint(jnp.sin))(1.0).eqns[0].primitive
    for equation in closed.jaxpr.eqns:
        moves = [not isinstance(var, Literal) and var in varying for var in equation.invars]
        if equation.primitive.name == "scan":
            turn = equation.params["jaxpr"]
            sizes[id(turn)] = _largest_block(turn, moves)
        if equation.primitive is not rematerialized:
            continue
        inner = equation.params["jaxpr"]
        shapes = tuple(str(var.aval) for var in inner.invars)
        if (shapes, len(inner.eqns)) in sizes:
            continue  # an equal block
        values = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in inner.invars]
        floats = [jnp.issubdtype(value.dtype, jnp.floating) for value in values]
        block = jaxpr_as_fun(ClosedJaxpr(inner, ()))
        sizes[shapes, len(inner.eqns)] = _residuals(block, values, floats, moves)[0]
    return max(sizes.values(), default=0)


def _bytes(variables: set) -> int:
    return sum(var.aval.size * var.aval.dtype.itemsize for var in variables)
