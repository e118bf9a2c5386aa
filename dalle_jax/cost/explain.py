"""`dalle-jax train --explain`: what a training takes of its devices, computed without them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from dalle_jax.cost import compiled
from dalle_jax.cost.abstract import AbstractTraining, abstract_key, abstract_training, lower_step
from dalle_jax.cost.flops import step_flops
from dalle_jax.cost.footprint import (
    Traffic,
    device_bytes,
    gathered_arrays,
    gradient_residuals,
    num_bytes,
    traffic,
)
from dalle_jax.nn.remat import rematerialized
from dalle_jax.training.sharding import (
    RULES,
    abstract_mesh,
    is_stacked,
    make_mesh,
    path_name,
    rule_of,
)

MiB = 2**20
MOST_COMPILED = 64  # virtual devices


def parse_mesh(text: str) -> dict[str, int]:
    """`data=8,fsdp=64` as axes and sizes; what is not named has size 1."""
    try:
        return {
            name.strip(): int(size) for name, size in (part.split("=") for part in text.split(","))
        }
    except ValueError:
        raise ValueError(
            f"--mesh={text} is not understood; write it like --mesh=data=8,fsdp=64"
        ) from None


def explain(
    stages: Sequence[str], config: Mapping[str, Any], mesh: str | None, compiles: bool
) -> None:
    """Print what training each of the stages takes of each device of a mesh.

    Args:
        stages: their names.
        config: whole.
        mesh: `data=8,fsdp=64`; None for that of the config on the devices that are here.
        compiles: also compile the step for as many virtual CPU devices, and print what the
            compiler says of it beside what was computed. No device may be in use yet.

    Raises:
        ValueError: the mesh is not understood, does not fit the batch, or has too many devices.
    """
    if compiles:
        count = math.prod(parse_mesh(mesh).values()) if mesh else 1
        if not 0 < count <= MOST_COMPILED:
            raise ValueError(
                f"--explain=compiled takes a --mesh of 1 to {MOST_COMPILED} devices, not {count}; "
                "without `=compiled` any number"
            )
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    for name in stages:
        _explain_stage(name, config, mesh, compiles)


def _explain_stage(name: str, config: Mapping[str, Any], mesh: str | None, compiles: bool) -> None:
    settings = config[name]["train"]
    axes = parse_mesh(mesh) if mesh else settings["mesh"]
    if mesh and -1 in axes.values():
        raise ValueError(f"--mesh={mesh} leaves a size open; give the number of devices")
    num_devices = math.prod(axes.values()) if mesh else jax.device_count()
    where = abstract_mesh(axes, num_devices)
    shards = where.shape["data"] * where.shape["fsdp"]
    if settings["batch_size"] % (shards * settings["accumulate"]):
        raise ValueError(
            f"a batch of {settings['batch_size']} can't be cut into {settings['accumulate']} "
            f"part(s) for each of data x fsdp = {shards} devices; change --config.{name}.train."
            "batch_size, accumulate or the mesh"
        )
    with rematerialized(settings["remat"]):
        training = abstract_training(name, config)
        print(
            f"{name}: {num_devices} device(s), mesh {dict(where.shape)}; a step of "
            f"{settings['batch_size']} images in {settings['accumulate']} part(s), remat "
            f"{settings['remat']}\n"
        )
        print(*rule_lines(training.state.params, where), sep="\n")
        print(*uncut_lines(training.state.params, where), sep="\n")
        footprint = footprint_of(training, where)
        print("", *memory_lines(footprint), sep="\n")
        print("", *arithmetic_lines(step_flops(name, config), settings, num_devices), sep="\n")
        print("", *traffic_lines(footprint.traffic, where), sep="\n")
        if compiles:
            devices = make_mesh(axes, jax.devices()[:num_devices])
            program = lower_step(training, devices, settings["accumulate"]).compile()
            print("", *compiled_lines(program), sep="\n")
            if loops(training):
                print("of what runs in a loop, operations and collectives are those of one turn")


def rule_lines(params: Any, mesh: Any) -> Iterator[str]:
    """Which parameter falls under which rule and is cut how, like ones on one line."""
    groups: dict[str, dict[tuple[str, str], list[Any]]] = {rule.what: {} for rule in RULES}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        path = path_name(path)
        rule = rule_of(path)
        spec = rule.spec(leaf.shape, mesh)
        cuts = [f"{i}:{axis}" for i, axis in enumerate(spec) if axis and mesh.shape[axis] > 1]
        key = (re.sub(r"\d+", "*", path), " ".join(cuts)) if cuts else ("", "")
        groups[rule.what].setdefault(key, []).append(leaf)

    def line(what: str, leaves: list[Any]) -> str:
        return f"{what:76}{len(leaves):8,}{sum(leaf.size for leaf in leaves):16,}"

    yield f"{'parameters, by rule (axis:cut over)':76}{'arrays':>8}{'elements':>16}"
    for what, group in groups.items():
        if not group:
            continue
        yield line(what, [leaf for like in group.values() for leaf in like])
        for (path, how), like in sorted(group.items()):
            if path:
                yield line(f"  {path}  {how}", like)
            elif len(group) > 1:
                yield line("  too small or odd, whole on each device", like)
    yield line("all", jax.tree.leaves(params))


def uncut_lines(params: Any, mesh: Any) -> Iterator[str]:
    """A warning where much of a network lies whole on each device of fsdp."""
    fsdp, whole, cut = mesh.shape["fsdp"], 0, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        spec = rule_of(path_name(path)).spec(leaf.shape, mesh)
        whole, cut = whole + leaf.size, cut + leaf.size * ("fsdp" in spec)
    if fsdp > 1 and cut < 0.9 * whole and whole > 1e6:
        yield (
            f"\nonly {100 * cut / whole:.0f} % of the weights can be cut over fsdp={fsdp}: the "
            "rest has no axis that is a multiple of it. Give fsdp fewer devices, data the others"
        )


def loops(training: AbstractTraining) -> bool:
    """Whether a step has a loop, over stacked blocks or over parts of the batch."""
    weights = jax.tree_util.tree_leaves_with_path((training.state.params, training.frozen))
    stacked = any(is_stacked(path_name(path)) for path, _ in weights)
    return stacked or training.settings["accumulate"] > 1


class Footprint(NamedTuple):
    """Bytes, by what they are: (whole, of one device); and what is sent."""

    parts: dict[str, tuple[int, int]]
    traffic: Traffic

    @property
    def device(self) -> int:
        """Bytes of one device."""
        return sum(part for _, part in self.parts.values())


def footprint_of(training: AbstractTraining, mesh: Any) -> Footprint:
    """What a step takes, from shapes and specs."""
    accumulate, remat = training.settings["accumulate"], training.settings["remat"]
    micro = jax.tree.map(lambda x: _rows(x, x.shape[0] // accumulate), training.batch)

    def loss(params, frozen, batch, key):
        return training.stage.loss(params, frozen, batch, key, train=True)[0]

    state, frozen = training.state, training.frozen
    saved = gradient_residuals(loss, state.params, frozen, micro, abstract_key())
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    params, cut = num_bytes(state.params), device_bytes(state.params, mesh)
    parts = {
        "parameters": (params, cut),
        "their average (EMA)": (params, device_bytes(state.ema_params, mesh)),
        "optimizer state": (num_bytes(state.opt_state), device_bytes(state.opt_state, mesh)),
        "gradient": (params, cut),
    }
    gradients = training.stage.num_gradients
    if gradients > 1:
        parts["second gradient, and where it is taken (SAM)"] = (2 * params, 2 * cut)
    for other, weights in frozen.items():
        parts[f"weights of {other}, frozen"] = (num_bytes(weights), device_bytes(weights, mesh))
    batch = num_bytes(training.batch)
    parts |= {
        "batch": (batch, batch // shards),
        "activations stored for the gradient": (
            saved.activations,
            saved.activations // shards,
        ),
    }
    if saved.block:
        parts["the block that is computed again"] = (saved.block, saved.block // shards)
    if saved.weights:
        parts["weights in the dtype of computation"] = (
            saved.weights,
            saved.weights * cut // params,
        )
    if mesh.shape["fsdp"] > 1:
        # Without rematerialisation the compiler keeps them for the backward pass, all but those of
        # a loop's blocks.
        once = gathered_arrays(state.params, mesh, stacked=False)
        in_turn = gathered_arrays(state.params, mesh, stacked=True)
        if remat == "none":
            gathered = sum(once) + max(in_turn, default=0)
        else:
            gathered = max(once + in_turn, default=0)
        parts["weights gathered for use"] = (gathered, gathered)
    return Footprint(parts, traffic(state.params, frozen, mesh, accumulate * gradients))


def _rows(array: Any, count: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype)


def memory_lines(footprint: Footprint) -> Iterator[str]:
    """A table of `Footprint.parts`."""
    yield f"{'memory (arithmetic)':44}{'whole, MiB':>16}{'a device, MiB':>16}"
    for what, (whole, device) in footprint.parts.items():
        yield f"{what:44}{whole / MiB:16,.1f}{device / MiB:16,.1f}"
    yield f"{'sum':44}{'':16}{footprint.device / MiB:16,.1f}"


def arithmetic_lines(flops: float, settings: Mapping[str, Any], num_devices: int) -> Iterator[str]:
    """Operations of a step."""
    yield (
        f"operations a step (the compiler's count, before it optimizes): {flops / 1e9:,.2f} GFLOP, "
        f"{flops / 1e9 / settings['batch_size']:,.3f} an image, {flops / 1e9 / num_devices:,.2f} "
        "a device"
    )


def traffic_lines(sent: Traffic, mesh: Any) -> Iterator[str]:
    """What each device sends."""
    yield "sent by each device a step (arithmetic)                        MiB"
    yield f"{'weights gathered over fsdp':52}{sent.gathered / MiB:16,.1f}"
    yield f"{'gradients scattered over fsdp':52}{sent.scattered / MiB:16,.1f}"
    yield f"{'gradients averaged over data':52}{sent.reduced / MiB:16,.1f}"
    if mesh.shape["tensor"] > 1:
        yield "and sums of activations over tensor, which are not computed here"


def compiled_lines(program: Any) -> Iterator[str]:
    """What the compiler says of the program of one virtual CPU device."""
    memory = compiled.memory(program)
    yield f"{'memory (the compiler, for virtual CPU devices)':60}{'a device, MiB':>16}"
    yield f"{'state, frozen weights and batch':60}{memory.arguments / MiB:16,.1f}"
    yield f"{'outputs in buffers of their own':60}{memory.outputs / MiB:16,.1f}"
    temporaries = "temporaries: gradient, activations, gathered weights"
    yield f"{temporaries:60}{memory.temporaries / MiB:16,.1f}"
    yield f"{'sum':60}{memory.peak / MiB:16,.1f}"
    yield f"operations of one device: {compiled.flops(program) / 1e9:,.2f} GFLOP"
    found = compiled.collectives(program.as_text())
    for kind, (count, size, sent) in sorted(found.items()):
        yield (
            f"{kind:20}{count:6,} of them, results {size / MiB:,.1f} MiB, "
            f"sent by each device {sent / MiB:,.1f} MiB"
        )
