"""The table of a sweep's page: a line a point, and once what is the same for all points."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.ticker import EngFormatter

from dalle_jax.evaluation.digits import fitted
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.ranking import differences
from dalle_jax.sweeps.grid import BASE
from dalle_jax.sweeps.losses import LOSS
from dalle_jax.sweeps.results import PointRows, Row

Protocols = Mapping[str, Mapping[str, Any]]  # by their hashes

SHORT_REVISION = 10


class Column(NamedTuple):
    """What identifies a column.

    Attributes:
        name: its heading.
        about: in smaller letters below the name.
        is_fact: whether it is stated once, below the table, where all points have the same.
        group: distinguishes columns of the same name under different protocols.
    """

    name: str
    about: str = ""
    is_fact: bool = False
    group: tuple[str, int] = ("", 0)


class Cell(NamedTuple):
    """The cell of a column for one point.

    Attributes:
        text: that is shown.
        number: that it is sorted by; None where it is sorted by its text.
        around: a value's interval.
        whole: what unfolds where `text` is short for it.
    """

    text: str
    number: float | None = None
    around: str = ""
    whole: str = ""


Part = Iterator[tuple[Column, Cell]]  # some columns of one point


def table(points: Sequence[PointRows], names: Sequence[str], protocols: Protocols) -> dict:
    """The table's `columns`, each with a cell a point (None: empty), and the facts that are the
    `same` for all points, cells by name.

    Args:
        points: all of the sweep.
        names: of the settings that it varies.
        protocols: of all that was evaluated.
    """
    found: dict[Column, dict[int, Cell]] = {Column(name): {} for name in names or ["point"]}
    parts = (
        lambda point: _overrides(point, names),
        lambda point: _values(point, protocols),
        lambda point: _facts(point, protocols),
        _costs,
    )
    for part in parts:
        for i, point in enumerate(points):
            for column, cell in part(point):
                found.setdefault(column, {})[i] = cell
    same: dict[str, list[Cell]] = {}
    columns: dict[Column, list[Cell | None]] = {}
    for column, cells in found.items():
        if column.is_fact and len(set(cells.values())) == 1:
            (cell,) = set(cells.values())
            text = f"{column.name} {cell.text}" if column.about else cell.text
            same.setdefault(column.about or column.name, []).append(cell._replace(text=text))
        elif cells:
            columns[column] = [cells.get(i) for i in range(len(points))]
    return {"columns": columns, "same": same}


def _overrides(point: PointRows, names: Sequence[str]) -> Part:
    """The point's overrides, the seed of training, and overrides for all points."""
    if point.head["point"] == BASE or not names:
        yield Column(names[0] if names else "point"), Cell(point.head["point"])
    for name, value in point.head.items():
        if name not in ("point", "runs") and value is not None:
            yield Column(name, is_fact=name not in names), Cell(str(value))


def _by_protocol(
    point: PointRows, protocols: Protocols
) -> Iterator[tuple[str, tuple[str, int], list[Row]]]:
    """The metrics of each protocol: a few words on it, the group of its columns, the rows.

    Protocols that differ only in sampling share columns unless one point was measured under both.
    """
    by_hash: dict[str, list[Row]] = {}
    for row in point.metrics:
        by_hash.setdefault(row["protocol_hash"] or "", []).append(row)
    groups: list[str] = []
    for key, rows in by_hash.items():
        protocol = protocols.get(key, {})
        groups.append(protocol_hash({**protocol, "sampling": None}))
        nth = groups.count(groups[-1])
        about = _about(protocol, protocols) + (f", way {nth} of sampling" if nth > 1 else "")
        yield about, (groups[-1], nth), rows


def _values(point: PointRows, protocols: Protocols) -> Part:
    """What was measured, with intervals."""
    for about, group, rows in _by_protocol(point, protocols):
        for row in rows:
            interval = None if row["low"] is None else (row["low"], row["high"])
            text = fitted(row["value"], interval)
            around = f"[{text(row['low'])}, {text(row['high'])}]" if interval else ""
            if row["deviation_of_seeds"] is not None:
                around += f" ± {row['deviation_of_seeds']:.2g}"
            cell = Cell(text(row["value"]), row["value"], around)
            yield Column(_label(row), about, group=group), cell


def _facts(point: PointRows, protocols: Protocols) -> Part:
    """By what it was measured; of losses nothing."""
    for about, group, rows in _by_protocol(point, protocols):
        first = rows[0]
        if not first["metric"].endswith(LOSS):
            floors = (f"{_label(r)} {r['floor']:.4g}" for r in rows if r["floor"] is not None)
            facts = {
                "protocol": first["protocol_hash"],
                "captions": first["data"],
                "seeds of sampling": first["sampling_seeds"],
                "floors": ", ".join(floors),
            }
            yield from ((Column(k, about, True, group), Cell(v)) for k, v in facts.items() if v)


def _label(row: Row) -> str:
    name = row["metric"].removeprefix("oracle/")
    return name.replace("/", " ") if name.endswith(LOSS) else name


def _about(protocol: Mapping[str, Any], protocols: Protocols) -> str:
    """A protocol without its sampling, in a few words; of a loss, how it differs from others."""
    if not protocol:
        return ""
    if "loss_of" in protocol:
        return loss_text(protocol, protocols.values())
    about = f"{protocol['num_images']} images, {protocol['features'].partition(':')[0]}"
    manifest = protocol.get("manifest_sha256")
    return about + (f", captions {manifest[:8]}" if manifest else "")


def loss_text(protocol: Mapping[str, Any], protocols: Iterable[Mapping[str, Any]]) -> str:
    """In what the loss of a protocol differs from the others of its stage, as "target eps"."""
    found: dict[str, Any] = {}
    for other in protocols:
        if other.get("loss_of") == protocol["loss_of"]:
            for name, (value, _) in differences(protocol, other).items():
                found[name.rpartition(".")[2]] = value
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _costs(point: PointRows) -> Part:
    """What the point cost, and on which machine and by which code it was made."""
    costs = point.costs
    for name, key, text in (
        ("operations", "flops", EngFormatter("FLOP", places=2)),
        ("training", "train_seconds", duration_text),
        ("evaluation", "evaluate_seconds", duration_text),
        ("peak memory", "peak_bytes", lambda value: f"{value / 2**30:.3g} GiB"),
    ):
        if costs[key] is not None:
            yield Column(name), Cell(text(costs[key]), costs[key])
    for name in ("host", "machine"):
        if costs[name]:
            yield Column(name, is_fact=True), Cell(costs[name])
    if whole := costs["git_revision"]:
        # A + says that files differed from the commit.
        short = [f"{c[:SHORT_REVISION].rstrip('+')}{'+' * c.endswith('+')}" for c in whole.split()]
        yield Column("git revision", is_fact=True), Cell(" ".join(short), whole=whole)
    if versions := json.loads(costs["versions"] or "{}"):
        every = ", ".join(f"{name} {version}" for name, version in versions.items())
        cell = Cell(f"jax {versions.get('jax', '?')}", whole=every)
        yield Column("versions", is_fact=True), cell


def duration_text(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short: "12.3 min"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
