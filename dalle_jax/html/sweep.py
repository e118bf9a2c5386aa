"""report.html of a sweep: the results, curves and images of all its points on one page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.config.load import flatten
from dalle_jax.files import write_atomically
from dalle_jax.html import page
from dalle_jax.html.curves import plot
from dalle_jax.html.sweep_table import loss_text, table
from dalle_jax.metrics.protocol import protocol_hash
from dalle_jax.metrics.results import read_rows
from dalle_jax.sweeps.definition import read_definition
from dalle_jax.sweeps.grid import BASE
from dalle_jax.sweeps.hours import Counts
from dalle_jax.sweeps.layout import SweepLayout
from dalle_jax.sweeps.losses import loss_protocol
from dalle_jax.sweeps.progress import read_curves
from dalle_jax.sweeps.results import by_point
from dalle_jax.sweeps.shared_runs import Graph, PlannedPoint, setting_columns

SHOWN = 16  # captions of which images are shown
CURVES = ("loss", "validation/loss")


def write_report(directory: Path, out: Path | None = None) -> Path:
    """Write the page of a sweep, at any time while it runs or after it; returns where it is.

    Args:
        directory: of the sweep, WORKDIR/NAME-SCALE.
        out: the file; report.html in the sweep's directory if None.

    Raises:
        FileNotFoundError: the directory has no sweep.json.
        ValueError: its sweep.json is torn.
    """
    html = render(directory)
    path = out or directory / "report.html"
    write_atomically(path, lambda file: file.write(html.encode()))
    return path


def render(directory: Path) -> str:
    """The page of the sweep in a directory, as HTML that needs no other file.

    Raises:
        ValueError: its sweep.json is torn.
    """
    name, graph = read_definition(directory)
    layout, points = SweepLayout(directory.absolute().parent, directory.name), graph.points
    results = by_point(graph, layout, Counts(layout.workdir / "flops.json").counted)
    losses = {key: loss_protocol(run) for key, run in graph.runs.items()}
    protocols = {protocol_hash(protocol): protocol for protocol in losses.values()}
    samples: dict[tuple[str, ...], dict[str, Sequence[np.ndarray]]] = {}
    for point in points:
        system = layout.system(point)
        rows = read_rows(system / "results.jsonl")
        protocols |= {row["protocol_hash"]: row["protocol"] for row in rows}
        captions, images = _first_images(system)
        if captions:
            samples.setdefault(captions, {})[point.name] = images
    short = setting_columns(graph)
    return page.render(
        "sweep.html",
        title=f"{name}: {len(points)} points",
        points={p.name: [f"{short[k]}={v}" for k, v in p.overrides.items()] for p in points},
        measured=sum(bool(of_point.metrics) for of_point in results),
        **table(results, list(short), protocols),
        plots=[(title, c, *plot(c)) for title, c in _curves(graph, layout, losses)],
        samples=samples,
        varying=_varying(points),
    )


def _curves(
    graph: Graph, layout: SweepLayout, losses: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, dict[str, tuple[list[int], list[float]]]]]:
    """A title, and curves by the names of their runs; losses that can't be compared are apart.

    `losses` holds the protocol of each run's loss.
    """
    overrides = {p.name: [f"{k}={v}" for k, v in p.overrides.items()] for p in graph.points}
    for stage in dict.fromkeys(run.stage for run in graph.runs.values()):
        keys = [key for key, run in graph.runs.items() if run.stage == stage]
        logs = {key: read_curves(layout.run(key)) for key in keys}
        for curve in CURVES:
            by_protocol: dict[str, list[str]] = {}
            for key in keys:
                if curve in logs[key]:
                    by_protocol.setdefault(protocol_hash(losses[key]), []).append(key)
            for alike in by_protocol.values():
                about = loss_text(losses[alike[0]], losses.values())
                title = f"{stage}: {curve}" + (f", {about}" if about else "")
                yield title, {_name(graph.users(k), overrides): logs[k][curve] for k in alike}


def _name(users: Sequence[PlannedPoint], overrides: Mapping[str, Sequence[str]]) -> str:
    """What the points that use a run share, and not all points of the sweep do."""
    if len(users) == len(overrides):
        return "all points"
    names = [point.name for point in users]
    in_all = lambda one, points: all(one in overrides[point] for point in points)
    shared = [o for o in overrides[names[0]] if in_all(o, names) and not in_all(o, overrides)]
    # A point without overrides shares nothing with others but the base.
    return ", ".join(shared) or (BASE if BASE in names else " or ".join(names))


def _first_images(system: Path) -> tuple[tuple[str, ...], Sequence[np.ndarray]]:
    """Captions, and an image of each, of the smallest seed whose images are stored."""
    found = []
    for path in system.glob("generated/*/made_of.json"):
        made_of = json.loads(path.read_text())
        shard = path.parent / "shard_00000000.npz"
        if shard.exists():
            found.append((made_of["seed"], made_of["captions"], shard))
    if not found:
        return (), ()
    _, captions, shard = min(found, key=lambda one: one[0])
    with np.load(shard, allow_pickle=False) as archive:
        images = archive["images"][:SHOWN]
    return tuple(captions[: len(images)]), images


def _varying(points: Sequence[PlannedPoint]) -> dict[str, dict[str, str]]:
    """By point: the settings that differ between points, as JSON."""
    flat = {p.name: {k: json.dumps(v) for k, v in flatten(p.config)} for p in points}
    settings = dict.fromkeys(setting for config in flat.values() for setting in config)
    varying = [s for s in settings if len({config.get(s) for config in flat.values()}) > 1]
    return {name: {s: config[s] for s in varying if s in config} for name, config in flat.items()}
