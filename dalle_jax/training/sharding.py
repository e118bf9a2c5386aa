"""Which device holds what: the mesh, and one rule for parameters over (path, shape)."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXES = ("data", "fsdp", "tensor")
BATCH = P(("data", "fsdp"))  # the batch is cut over both; "tensor" cuts layers, not samples
# Below this a leaf is cheaper to hold everywhere than to gather at each use.
MIN_SHARDED_SIZE = 2**14
# The compiler propagates shardings; linen layers break under jax's default, Explicit.
AUTO = (AxisType.Auto,) * len(AXES)


def make_mesh(axes: Mapping[str, int], devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh with axes ("data", "fsdp", "tensor"); at most one size may be -1, meaning the rest."""
    devices = jax.devices() if devices is None else devices
    sizes = mesh_sizes(axes, len(devices))
    return jax.make_mesh(sizes, AXES, axis_types=AUTO, devices=devices)


def abstract_mesh(axes: Mapping[str, int], num_devices: int) -> AbstractMesh:
    """As `make_mesh`, of so many devices that need not be there."""
    return AbstractMesh(mesh_sizes(axes, num_devices), AXES, axis_types=AUTO)


def mesh_sizes(axes: Mapping[str, int], num_devices: int) -> tuple[int, int, int]:
    """Sizes of ("data", "fsdp", "tensor") whose product is `num_devices`, −1 resolved."""
    if unknown := set(axes) - set(AXES):
        raise ValueError(f"mesh axis {min(unknown)!r} is unknown; the axes are {', '.join(AXES)}")
    sizes = [axes.get(name, 1) for name in AXES]
    known = int(np.prod([size for size in sizes if size != -1]))
    if sizes.count(-1) == 1 and known > 0 and num_devices % known == 0:
        sizes[sizes.index(-1)] = num_devices // known
    if min(sizes) < 1 or np.prod(sizes) != num_devices:
        raise ValueError(
            f"a mesh of {dict(axes)} does not cover {num_devices} devices: the sizes must "
            "multiply to that number; give one axis -1 to let it take the rest"
        )
    return tuple(sizes)


def _replicated(shape, mesh):
    return P()


def _cut(tensor_axis, first_axis=0):
    """Cut `tensor_axis` over "tensor", then the largest axis left over "fsdp".

    Axes before `first_axis` stay whole: a loop over them uses one slice after the other.
    """

    def spec(shape, mesh):
        names: list[str | None] = [None] * len(shape)
        cut = shape[first_axis:]
        if np.prod(cut) < MIN_SHARDED_SIZE:
            return P()
        if len(cut) > 1 and shape[tensor_axis] % mesh.shape["tensor"] == 0:
            names[tensor_axis] = "tensor"
        free = [i for i, name in enumerate(names) if name is None and i >= first_axis]
        free = [i for i in free if shape[i] % mesh.shape["fsdp"] == 0]
        if free:
            names[max(free, key=lambda i: shape[i])] = "fsdp"
        return P(*names)

    return spec


class Rule(NamedTuple):
    """How arrays are cut whose path `pattern` is found in."""

    what: str  # the rule in words
    pattern: str
    spec: Callable[[tuple[int, ...], Any], P]  # (shape, mesh) -> PartitionSpec


# What is under `blocks` belongs to equal blocks that run in a loop, stacked along a first axis.
_STACKED = r"(^|/)blocks/"

# The first match wins. The layer that closes a block is cut by its inputs, all others by their
# outputs, so that the activations between them stay cut and one sum closes the block (Shoeybi et
# al. 2019). Stacked blocks are cut as each would be by itself.
RULES = (
    Rule("biases and scales: whole on each device", r"(^|/)(bias|scale)$", _replicated),
    Rule(
        "stacked, layers that close a block: inputs over tensor, largest left over fsdp",
        _STACKED + r"(.*[/_])?(out|down)(_proj)?/kernel$",
        _cut(-2, first_axis=1),
    ),
    Rule(
        "stacked, all others: last axis over tensor, the largest left over fsdp",
        _STACKED,
        _cut(-1, first_axis=1),
    ),
    Rule(
        "layers that close a block: inputs over tensor, the largest axis left over fsdp",
        r"(^|[/_])(out|down)(_proj)?/kernel$",
        _cut(-2),
    ),
    Rule("all others: last axis over tensor, the largest axis left over fsdp", r"", _cut(-1)),
)


def rule_of(path: str) -> Rule:
    """The rule that an array falls under; the last takes all."""
    return next(rule for rule in RULES if re.search(rule.pattern, path))


def is_stacked(path: str) -> bool:
    """Whether an array holds equal blocks, one after the other along its first axis."""
    return re.search(_STACKED, path) is not None


def path_name(path) -> str:
    """A tree path as text, `params/text/block_0/kernel`."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def tree_shardings(tree: Any, mesh: Mesh | AbstractMesh) -> Any:
    """The sharding of each array of `tree` (arrays or their abstract shapes) by `RULES`.

    An optimizer's moments end in their parameter's path and have its shape, so
    the rule puts them where the parameter is.
    """

    def sharding(path, leaf):
        return NamedSharding(mesh, rule_of(path_name(path)).spec(leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(sharding, tree)


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """The abstract tree with the sharding of each array: what a checkpoint is restored onto."""
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings
    )


def put_tree(tree: Any, mesh: Mesh) -> Any:
    """Arrays that each process holds whole, cut by `RULES` over the devices of all processes."""

    def put(array, sharding):
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree, tree_shardings(tree, mesh))


def put_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Global arrays from this process's share of the batch, cut over the data axes."""
    sharding = NamedSharding(mesh, BATCH)
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    size = len(next(iter(batch.values()))) * jax.process_count()
    if size % shards:
        raise ValueError(
            f"a batch of {size} can't be cut into {shards} equal shares, one for each of "
            f"data x fsdp = {mesh.shape['data']} x {mesh.shape['fsdp']}; change batch_size or mesh"
        )
    here = sharding.addressable_devices_indices_map((size,)).values()
    if len({rows.start for (rows,) in here}) * jax.process_count() != shards:
        raise ValueError(
            f"the {shards} shares of a batch are not divided evenly among {jax.process_count()} "
            "processes, each of which reads its own; give the axis tensor no more devices than one "
            "process has"
        )
    return {
        name: jax.make_array_from_process_local_data(sharding, value)
        for name, value in batch.items()
    }
