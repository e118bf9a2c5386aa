"""What `dalle-jax report` writes: a sweep's results as one HTML page that needs no other file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.cli.curves import plot
from dalle_jax.cli.report import data_uri
from dalle_jax.cli.report import page_text as _text
from dalle_jax.cli.sweep_report_style import SCRIPT, STYLE
from dalle_jax.cli.sweep_report_table import loss_text, table
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import read_rows
from dalle_jax.sweeps.definition import read_definition
from dalle_jax.sweeps.graph import PlannedPoint, short_names
from dalle_jax.sweeps.grid import BASE
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.progress import read_curves
from dalle_jax.sweeps.results import by_point, loss_protocol

SHOWN = 16  # captions in the grid
CURVES = ("loss", "validation/loss")


class Samples(NamedTuple):
    """The first images of a point's first seed, and the captions that they are of."""

    captions: tuple[str, ...]
    images: list[np.ndarray]


def render(directory: Path) -> str:
    """The page of the sweep in a directory.

    Raises:
        ValueError: its sweep.json is torn, or something else.
    """
    title, graph = read_definition(directory)
    layout, points = SweepLayout(directory.absolute().parent, directory.name), graph.points
    systems = {point.name: layout.system(point) for point in points}
    counts = Counts(layout.workdir / "flops.json")
    title = f"{title}: {len(points)} points"
    losses = {key: loss_protocol(run) for key, run in graph.runs.items()}
    protocols = _protocols(systems.values()) | {protocol_hash(p): p for p in losses.values()}
    parts = [
        f"<h1>{_text(title)}</h1>",
        table(by_point(graph, layout, counts.counted), _knobs(points), protocols),
    ]
    parts += ["<h2>Curves</h2>", *_curves(points, layout, losses)]
    samples = {name: read_samples(system) for name, system in systems.items()}
    parts += _sample_tables(samples, {p.name: _heading(p, points) for p in points})
    parts += ["<h2>What differs between two points</h2>", _differences(points)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _knobs(points: Sequence[PlannedPoint]) -> list[str]:
    return list(dict.fromkeys(knob for point in points for knob in point.overrides))


def _protocols(systems: Iterable[Path]) -> dict[str, Mapping[str, Any]]:
    """Of all that was measured, by their hashes."""
    rows = (row for system in systems for row in read_rows(system / "results.jsonl"))
    return {row["protocol_hash"]: row["protocol"] for row in rows}


def _curves(
    points: Sequence[PlannedPoint], layout: SweepLayout, losses: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """A plot for each stage, curve and kind of loss, in which each run stands once.

    `losses` holds the protocol of each run's loss.
    """
    users: dict[str, dict[str, list[PlannedPoint]]] = {}
    for point in points:
        for stage, key in point.runs.items():
            users.setdefault(stage, {}).setdefault(key, []).append(point)
    plots = []
    for stage, of_runs in users.items():
        kinds = {protocol_hash(losses[key]): losses[key] for key in of_runs}
        for curve in CURVES:
            for kind, protocol in kinds.items():
                lines = {
                    _run_name(of_run, points): found
                    for key, of_run in of_runs.items()
                    if protocol_hash(losses[key]) == kind
                    and (found := read_curves(layout.run(key)).get(curve)) is not None
                }
                about = loss_text(protocol, kinds.values())
                title = f"{stage}: {curve}" + (f", {about}" if about else "")
                if lines:
                    plots.append(f"<div>{plot(title, lines)}</div>")
    if not plots:
        return ['<p class="quiet">No run has logged anything yet.</p>']
    return ['<div class="curves">', *plots, "</div>"]


def _run_name(users: Sequence[PlannedPoint], points: Sequence[PlannedPoint]) -> str:
    """What the points that have a run in common have in common, and not all points have."""
    if len(users) == len(points):
        return "all points"
    told = [
        f"{knob}={value}"
        for knob, value in users[0].overrides.items()
        if _have(users, knob, value) and not _have(points, knob, value)
    ]
    # What overrides nothing has nothing in common with others but the base.
    names = [point.name for point in users]
    return ", ".join(told) or (BASE if BASE in names else " or ".join(names))


def _have(points: Sequence[PlannedPoint], knob: str, value: Any) -> bool:
    return all(knob in p.overrides and p.overrides[knob] == value for p in points)


def read_samples(system: Path) -> Samples | None:
    """The images that an evaluation in this workdir drew first; None if they are not kept."""
    found = []
    for path in system.glob("generated/*/made_of.json"):
        made_of = json.loads(path.read_text())
        shard = path.parent / "shard_00000000.npz"
        if shard.exists():
            found.append((made_of["seed"], made_of["captions"], shard))
    if not found:
        return None
    _, captions, shard = min(found, key=lambda one: one[0])
    with np.load(shard, allow_pickle=False) as archive:
        images = archive["images"][:SHOWN]
    return Samples(tuple(captions[: len(images)]), list(images))


def _heading(point: PlannedPoint, points: Sequence[PlannedPoint]) -> str:
    """A point's overrides in short, a line each."""
    names = short_names(_knobs(points))
    lines = [_text(f"{names[k]}={v}") for k, v in point.overrides.items()]
    return "<br>".join(lines) or _text(point.name)


def _sample_tables(samples: Mapping[str, Samples | None], headings: Mapping[str, str]) -> list[str]:
    """A row a caption, a column a point; a table of its own for points of other captions."""
    by_captions: dict[tuple[str, ...], dict[str, Samples]] = {}
    for name, of_point in samples.items():
        if of_point is not None:
            by_captions.setdefault(of_point.captions, {})[name] = of_point
    if not by_captions:
        return []
    parts = ["<h2>Samples: the same captions and noise for all points</h2>"]
    for captions, of_points in by_captions.items():
        heads = "".join(f'<th title="{_text(n)}">{headings[n]}</th>' for n in of_points)
        body = "".join(
            f'<tr><td dir="auto">{_text(caption)}</td>'
            + "".join(
                f'<td><img alt="{_text(name)}" src="{data_uri(one.images[i])}"></td>'
                for name, one in of_points.items()
            )
            + "</tr>"
            for i, caption in enumerate(captions)
        )
        parts.append(
            f'<div class="wide"><table class="samples"><tr><td></td>{heads}</tr>{body}</table>'
            "</div>"
        )
    return parts


def _differences(points: Sequence[PlannedPoint]) -> str:
    """Two menus of points, and the knobs that differ between them."""
    flat = {point.name: dict(_flatten(point.config)) for point in points}
    knobs = dict.fromkeys(knob for config in flat.values() for knob in config)
    varying = [k for k in knobs if len({config.get(k) for config in flat.values()}) > 1]
    chosen = {
        name: {knob: config[knob] for knob in varying if knob in config}
        for name, config in flat.items()
    }
    names = list(flat)
    menus = [
        "<select>"
        + "".join(
            f'<option{" selected" if i == at else ""} value="{_text(name)}">{_text(name)}</option>'
            for i, name in enumerate(names)
        )
        + "</select>"
        for at in (0, min(1, len(names) - 1))
    ]
    # "</" would end the element.
    text = json.dumps(chosen).replace("</", "<\\/")
    return (
        f"<p>{menus[0]} and {menus[1]}</p><table><thead><tr><th>knob</th><th>first</th>"
        '<th>second</th></tr></thead><tbody id="differences"></tbody></table>'
        f'<script type="application/json" id="varying">{text}</script>'
    )


def _flatten(section: Mapping[str, Any], prefix: str = ""):
    """The knobs of a config as ("decoder.train.steps", "4000")."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(value)
