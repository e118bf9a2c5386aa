"""The table of a sweep's page: a line a point, that can be sorted by any column."""

import hashlib
import html
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dalle_jax.evaluation.digits import fitted
from dalle_jax.metrics.protocol import differences
from dalle_jax.sweeps.grid import BASE
from dalle_jax.sweeps.results import LOSS, PointRows, Row

Protocols = Mapping[str, Mapping[str, Any]]  # by their hashes

SHORT_REVISION = 10
NOTES = (
    '<p class="quiet">In brackets: 95 % intervals, over captions or images, for one training each; '
    "± is the standard deviation over seeds of sampling. Columns of one metric under different "
    "protocols stand apart and are not to be compared, nor are losses of different targets, "
    "weights or noise. Operations are those of training, as the "
    "compiler counts them when a sweep ends; operations, times and memory are of all stages that a "
    "point stands on, whether it shares them or not, and memory is main memory, of the largest "
    "process. A click on a heading sorts.</p>"
)


class Cell(NamedTuple):
    """What stands in the table for one point.

    Attributes:
        html: its content.
        number: that it is sorted by; None where it is sorted by its text.
    """

    html: str
    number: float | None = None


@dataclass
class Column:
    """A column of the table.

    Attributes:
        name: its heading.
        about: in smaller letters below the name.
        told_once: whether it stands below the table where all points have the same.
        cells: by point.
    """

    name: str
    about: str = ""
    told_once: bool = False
    cells: dict[str, Cell] = field(default_factory=dict)

    def is_told_once(self) -> bool:
        """Whether it is no column of the table."""
        return self.told_once and len(set(self.cells.values())) == 1


def table(points: Sequence[PointRows], knobs: Sequence[str], protocols: Protocols) -> str:
    """The table of results, and below it what is the same for all points, as HTML.

    Args:
        points: all of the sweep.
        knobs: that it varies.
        protocols: of all that was evaluated.
    """
    columns = [
        *_overrides(points, knobs),
        *_metrics(points, protocols),
        *_costs(points),
    ]
    once = [column for column in columns if column.cells and column.is_told_once()]
    shown = [column for column in columns if column.cells and not column.is_told_once()]
    abouts = {column.about for column in columns if column.about}
    # The only one is told below the table, and its columns need not be as wide as it is.
    hidden = abouts & {column.about for column in once} if len(abouts) == 1 else set()
    heads = "".join(f"<th>{_head(column, hidden)}</th>" for column in shown)
    names = [of_point.head["point"] for of_point in points]
    body = "".join(
        f'<tr title="{_text(name)}">{"".join(_td(column.cells.get(name)) for column in shown)}</tr>'
        for name in names
    )
    measured = sum(bool(of_point.metrics) for of_point in points)
    of_all = f'<p class="quiet">{measured} of {len(points)} points have results so far.</p>'
    return (
        f"<h2>Results</h2>{of_all if measured < len(points) else ''}"
        f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{_same(once)}{NOTES}"
    )


def _overrides(points: Sequence[PointRows], knobs: Sequence[str]) -> list[Column]:
    """The point's knobs, the seed of training, and what was typed for all points."""
    columns = {knob: Column(knob) for knob in knobs or ["point"]}
    first = next(iter(columns.values()))
    for of_point in points:
        name, head = of_point.head["point"], of_point.head
        if name == BASE or not knobs:
            first.cells[name] = Cell(_text(name))
        for knob in knobs:
            if head[knob] is not None:
                columns[knob].cells[name] = Cell(_text(head[knob]))
        for other in [key for key in head if key not in ("point", "runs", *knobs)]:
            column = columns.setdefault(other, Column(other, told_once=True))
            column.cells[name] = Cell(_text(head[other]))
    return list(columns.values())


def _metrics(points: Sequence[PointRows], protocols: Protocols) -> list[Column]:
    """A column for each metric and protocol but its sampling, and what its protocol is.

    What is sampled otherwise is another column only where one point was measured in both ways.
    """
    groups: dict[tuple[str, int], dict[str, Column]] = {}
    for of_point in points:
        seen: dict[str, int] = {}
        for protocol_hash, rows in _by_protocol(of_point.metrics).items():
            protocol = protocols.get(protocol_hash, {})
            but_sampling = _hash_but_sampling(protocol)
            nth = seen[but_sampling] = seen.get(but_sampling, 0) + 1
            group = groups.setdefault((but_sampling, nth), {})
            about = _about(protocol, protocols) + (f", way {nth} of sampling" if nth > 1 else "")
            for told_once, cells in ((False, _values(rows)), (True, _measured_by(rows))):
                for name, cell in cells.items():
                    column = group.setdefault(name, Column(name, about, told_once))
                    column.cells[of_point.head["point"]] = cell
    # What was measured stands before what it was measured by.
    return [
        column
        for group in groups.values()
        for column in sorted(group.values(), key=lambda column: column.told_once)
    ]


def _by_protocol(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["protocol_hash"] or "", []).append(row)
    return found


def _values(rows: Sequence[Row]) -> dict[str, Cell]:
    """By metric, with their intervals."""
    found = {}
    for row in rows:
        interval = None if row["low"] is None else (row["low"], row["high"])
        text = fitted(row["value"], interval)
        around = f"[{text(row['low'])}, {text(row['high'])}]" if interval else ""
        if row["deviation_of_seeds"] is not None:
            around += f" ± {row['deviation_of_seeds']:.2g}"
        found[_label(row)] = Cell(f"{text(row['value'])}<small>{around}</small>", row["value"])
    return found


def _measured_by(rows: Sequence[Row]) -> dict[str, Cell]:
    """What the rows of one protocol say of it."""
    first = rows[0]
    if first["metric"].endswith(LOSS):
        return {}
    floors = [f"{_label(row)} {row['floor']:.4g}" for row in rows if row["floor"] is not None]
    found = {
        "protocol": first["protocol_hash"],
        "captions": first["data"],
        "seeds of sampling": first["sampling_seeds"],
        "floors": ", ".join(floors),
    }
    return {name: Cell(_text(value)) for name, value in found.items() if value}


def _label(row: Row) -> str:
    name = row["metric"].removeprefix("oracle/")
    return name.replace("/", " ") if name.endswith(LOSS) else name


def _costs(points: Sequence[PointRows]) -> list[Column]:
    """What the points took, and on what they were made."""
    columns = [
        Column("operations"),
        Column("training"),
        Column("evaluation"),
        Column("peak memory"),
        *(Column(name, told_once=True) for name in ("host", "machine", "git revision", "versions")),
    ]
    for of_point in points:
        costs = of_point.costs
        found = (
            _with_unit(costs["flops"], flop_text),
            _with_unit(costs["train_seconds"], duration_text),
            _with_unit(costs["evaluate_seconds"], duration_text),
            _with_unit(costs["peak_bytes"], bytes_text),
            *(Cell(_text(costs[name])) if costs[name] else None for name in ("host", "machine")),
            _revisions(costs["git_revision"]) if costs["git_revision"] else None,
            _versions(costs["versions"]) if costs["versions"] else None,
        )
        for column, cell in zip(columns, found):
            if cell is not None:
                column.cells[of_point.head["point"]] = cell
    return columns


def _same(columns: Sequence[Column]) -> str:
    """What all points have in common: a line of each protocol, and of each fact of the runs."""
    lines: dict[str, list[str]] = {}
    for column in columns:
        (cell,) = set(column.cells.values())
        if column.about:
            lines.setdefault(column.about, []).append(f"{_text(column.name)} {cell.html}")
        else:
            lines.setdefault(column.name, []).append(cell.html)
    if not lines:
        return ""
    told = "".join(f"<dt>{_text(k)}</dt><dd>{'; '.join(v)}</dd>" for k, v in lines.items())
    return f'<h3>The same for all points</h3><dl class="facts">{told}</dl>'


def _hash_but_sampling(protocol: Mapping[str, Any]) -> str:
    """Of a protocol without its sampling, which is what may be swept."""
    kept = {name: value for name, value in protocol.items() if name != "sampling"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _about(protocol: Mapping[str, Any], protocols: Protocols) -> str:
    """A protocol but for its sampling, as a few words; of a loss, how it differs from others."""
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


def _with_unit(value: float | None, text) -> Cell | None:
    return None if value is None else Cell(text(value), value)


def _revisions(text: str) -> Cell:
    """Commits in short; the + of changed files stays."""
    short = [
        commit[:SHORT_REVISION] + "+" * (commit.endswith("+") and len(commit) > SHORT_REVISION)
        for commit in text.split()
    ]
    return Cell(f'<span title="{_text(text)}">{_text(" ".join(short))}</span>')


def _versions(text: str) -> Cell | None:
    """Of all packages; as a cell it unfolds."""
    versions = json.loads(text)
    if not versions:
        return None
    every = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Cell(
        f"<details><summary>jax {_text(versions.get('jax', '?'))}</summary>"
        f"<span>{_text(every)}</span></details>"
    )


def flop_text(value: float) -> str:
    """Operations with three digits: "1.23 TFLOP"."""
    return _prefixed(value, 1000, ("", "k", "M", "G", "T", "P", "E", "Z", "Y")) + "FLOP"


def bytes_text(value: float) -> str:
    """Bytes with three digits: "1.23 GiB"."""
    return _prefixed(value, 1024, ("", "Ki", "Mi", "Gi", "Ti")) + "B"


def duration_text(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short: "12.3 min"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _prefixed(value: float, base: int, prefixes: Sequence[str]) -> str:
    steps = 0
    while value >= 999.5 and steps < len(prefixes) - 1:
        value, steps = value / base, steps + 1
    return f"{value:.3g} {prefixes[steps]}"


def _head(column: Column, hidden: Collection[str]) -> str:
    # Long names of knobs may break at their dots.
    name = _text(column.name).replace(".", ".<wbr>")
    if not column.about or column.about in hidden:
        return name
    return f"{name}<br><small>{_text(column.about)}</small>"


def _td(cell: Cell | None) -> str:
    if cell is None:
        return '<td data-value=""></td>'
    value = "" if cell.number is None else f' data-value="{cell.number!r}"'
    return f"<td{value}>{cell.html}</td>"


def _text(value: Any) -> str:
    return html.escape(str(value))
