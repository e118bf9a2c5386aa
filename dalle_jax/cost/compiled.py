"""What the compiler made of a step: its memory, its operations, and what its devices send."""

import math
import re
from typing import Any, NamedTuple

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")

# Bytes that each of n devices sends for a result of r bytes, on a ring.
SENT = {
    "all-gather": lambda r, n: r * (n - 1) / n,
    "reduce-scatter": lambda r, n: r * (n - 1),
    "all-reduce": lambda r, n: 2 * r * (n - 1) / n,
    "all-to-all": lambda r, n: r * (n - 1) / n,
    "collective-permute": lambda r, n: r,
}

_COLLECTIVE = re.compile(rf"= (\(.*?\)|\S+) ({'|'.join(KINDS)})\(")
_ARRAY = re.compile(r"([a-z]+)(\d*)\w*\[([\d,]*)\]")
# Groups as [number, size], as {{members}, …}, as {} for one of all devices, or as axes of a mesh,
# whole or a (before)size of one.
_GROUPS = re.compile(
    r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\}|(\{\})|(mesh\[.*?\][^{]*)\{(.*?)\})"
)
_DEVICES = re.compile(r"\b(?:replica_count|num_partitions)=(\d+)")  # in the program's first line
_AXIS = re.compile(r"'(\w+)'(?:=(\d+)|:\(\d+\)(\d+))?")


class Collectives(NamedTuple):
    """The collectives of one kind in a program."""

    count: int
    result_bytes: int
    sent_bytes: float  # by each device


def collectives(hlo: str) -> dict[str, Collectives]:
    """The collectives in a compiled program's text, by kind; a loop's body counts once.

    The program is one of virtual CPU devices: those of GPUs and TPUs start and finish their
    collectives in two instructions, which are not looked for.

    Raises:
        ValueError: it is not understood which devices a collective joins.
    """
    found: dict[str, Collectives] = {}
    head = next((line for line in hlo.splitlines() if line.startswith("HloModule")), "")
    num_devices = math.prod(map(int, _DEVICES.findall(head)))
    for line in hlo.splitlines():
        if not (match := _COLLECTIVE.search(line)):
            continue
        kind = match[2]
        size = sum(_array_bytes(*array) for array in _ARRAY.findall(match[1]))
        # A permutation has pairs of devices instead of groups: each sends its own to another.
        group = 1 if kind == "collective-permute" else _group_size(line, num_devices)
        before = found.get(kind, Collectives(0, 0, 0.0))
        found[kind] = Collectives(
            before.count + 1,
            before.result_bytes + size,
            before.sent_bytes + SENT[kind](size, group),
        )
    return found


def _group_size(line: str, num_devices: int) -> int:
    """How many of a program's devices a collective joins."""
    if not (match := _GROUPS.search(line)):
        raise ValueError(
            f"of a collective the compiler says in a way that is not understood which devices it "
            f"joins: {line.strip()[:200]}; leave out `=compiled`"
        )
    size, members, everyone, mesh, axes = match.groups()
    if size:
        return int(size)
    if members:
        return members.count(",") + 1
    if everyone:
        return num_devices
    sizes = {name: int(whole) for name, whole, _ in _AXIS.findall(mesh) if whole}
    return math.prod(int(part) if part else sizes[name] for name, _, part in _AXIS.findall(axes))


def _array_bytes(letters: str, bits: str, sizes: str) -> int:
    size = math.prod(int(n) for n in sizes.split(",") if n)
    return size * max(int(bits or 8) // 8, 1) if letters != "pred" else size


class Memory(NamedTuple):
    """Bytes of one device while a program runs."""

    arguments: int
    outputs: int  # that do not lie where an argument lay
    temporaries: int

    @property
    def peak(self) -> int:
        """All of it at once."""
        return sum(self)


def memory(program: Any) -> Memory:
    """The compiler's own account of a compiled program (`jax.stages.Compiled`)."""
    stats = program.memory_analysis()
    return Memory(
        stats.argument_size_in_bytes,
        stats.output_size_in_bytes - stats.alias_size_in_bytes,
        stats.temp_size_in_bytes,
    )


def flops(program: Any) -> float:
    """Floating-point operations of a lowered program, of all devices, or a compiled one, of one."""
    return float(program.cost_analysis()["flops"])
