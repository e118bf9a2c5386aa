"""`dalle-jax report`: a sweep's results as one HTML page that needs no other file."""

import argparse
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dalle_jax.cli.curves import plot
from dalle_jax.cli.report import data_uri
from dalle_jax.data.checked import write_atomically
from dalle_jax.metrics.results import read_rows
from dalle_jax.sweeps.figure_rows import short_names
from dalle_jax.sweeps.progress import read_curves

EXAMPLE = """example:
  dalle-jax report runs/sweeps/guidance-tiny
"""
SHOWN = 16  # captions in the grid
CURVES = ("loss", "validation/loss")

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2328; background: #fff;
       margin: 1.5rem auto; padding: 0 1rem; max-width: 100rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .6rem 0 1rem; }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #d1d9e0;
         vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td { font-variant-numeric: tabular-nums; white-space: nowrap; }
th { overflow-wrap: normal; }
table.sortable th { cursor: pointer; user-select: none; vertical-align: bottom; }
th[aria-sort=ascending]::after { content: " ▲"; } th[aria-sort=descending]::after { content: " ▼"; }
small, .quiet { color: #59636e; } .wide { overflow-x: auto; }
.samples td { padding: .1rem .3rem .1rem 0; border: 0; }
.samples th { font-weight: 400; font-size: .75rem; max-width: 6rem; white-space: normal;
              overflow-wrap: anywhere; text-align: left; vertical-align: bottom; }
.samples img { width: 6rem; image-rendering: pixelated; display: block; }
.samples td:first-child { white-space: normal; min-width: 7rem; font-size: .85rem; }
.curves { display: grid; gap: 0 2rem;
          grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto; }
@media (max-width: 45rem) { svg { font-size: 17px; } }
svg polyline { fill: none; stroke-width: 1.5; }
.legend span { display: inline-block; margin-right: 1.2rem; }
select { max-width: 100%; }
"""

SCRIPT = """
const key = cell => cell.dataset.value === undefined ? cell.textContent : cell.dataset.value;
const compare = (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const x = Number(a), y = Number(b);
  return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const head of document.querySelectorAll("table.sortable th")) {
  head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], i = head.cellIndex;
    const rows = [...body.rows].map(row => [key(row.cells[i]), row]);
    const empty = rows.filter(([k]) => k === ""), full = rows.filter(([k]) => k !== "");
    full.sort(([a], [b]) => (up ? 1 : -1) * compare(a, b));
    body.append(...[...full, ...empty].map(([, row]) => row));
  });
}
const varying = JSON.parse(document.getElementById("varying").textContent);
const [left, right] = document.querySelectorAll("select");
const show = () => {
  const body = document.getElementById("differences");
  body.replaceChildren();
  const a = varying[left.value], b = varying[right.value];
  for (const knob of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (a[knob] === b[knob]) continue;
    const row = body.insertRow();
    for (const text of [knob, a[knob] ?? "", b[knob] ?? ""]) row.insertCell().textContent = text;
  }
  if (!body.rows.length) body.insertRow().insertCell().textContent = "no difference";
};
left.addEventListener("change", show);
right.addEventListener("change", show);
show();
"""


class Samples(NamedTuple):
    """The first images of a point's first seed, and the captions that they are of."""

    captions: tuple[str, ...]
    images: list[np.ndarray]


def run(argv: list[str]) -> int:
    """Read the results of a sweep and write its page."""
    parser = argparse.ArgumentParser(
        prog="dalle-jax report",
        description="Draw a sweep's results as one HTML page: a table that can be sorted, curves, "
        "samples of all points for the same captions and noise, and what differs between the "
        "configs of two points.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workdir", type=Path, help="of a sweep: WORKDIR/NAME-SCALE")
    parser.add_argument("--out", type=Path, help="a file; WORKDIR/report.html otherwise")
    args = parser.parse_args(argv)
    directory = find_sweep(args.workdir)
    out = args.out or directory / "report.html"
    page = render(directory)
    write_atomically(out, lambda file: file.write(page.encode()))
    print(f"report: {out}")
    return 0


def find_sweep(workdir: Path) -> Path:
    """The directory of a sweep: the one given, or the only one in it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several.
    """
    if (workdir / "sweep.json").exists():
        return workdir
    found = sorted(path.parent for path in workdir.glob("*/sweep.json"))
    if not found:
        raise FileNotFoundError(
            f"{workdir} holds no sweep (it has no sweep.json); `dalle-jax sweep` makes one"
        )
    if len(found) > 1:
        raise ValueError(f"{workdir} holds several sweeps; name one: {', '.join(map(str, found))}")
    return found[0]


def render(directory: Path) -> str:
    """The page of the sweep in a directory.

    Raises:
        ValueError: its sweep.json is torn, or something else.
    """
    try:
        sweep = json.loads((directory / "sweep.json").read_text())
        points = sweep["points"]
        systems = {p["name"]: directory.parent / "systems" / p["system"] for p in points}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{directory / 'sweep.json'} is not what `dalle-jax sweep` writes ({error!r:.80}); the "
            "same `dalle-jax sweep` writes it anew"
        ) from error
    rows = {name: read_rows(system / "results.jsonl") for name, system in systems.items()}
    title = f"{sweep['sweep']}: {len(points)} points"
    parts = [f"<h1>{_text(title)}</h1>", _table(points, rows, systems), NOTES]
    parts += ["<h2>Curves</h2>", *_curves(points, directory.parent / "runs")]
    samples = {name: read_samples(system) for name, system in systems.items()}
    parts += _sample_tables(samples, {p["name"]: _heading(p["overrides"], points) for p in points})
    parts += ["<h2>What differs between two points</h2>", _differences(points)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


NOTES = (
    '<p class="quiet">In brackets: 95 % intervals, over captions or images, for one training each. '
    "Columns of one metric under different protocols stand apart and are not to be compared. A "
    "click on a heading sorts.</p>"
)


def _table(
    points: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    systems: Mapping[str, Path],
) -> str:
    """Overrides and metrics of each point; a column for each metric and protocol but sampling."""
    knobs = list(dict.fromkeys(knob for point in points for knob in point["overrides"]))
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for point in points:
        of_point = cells.setdefault(point["name"], {})
        for stage in point["runs"]:
            _, values = read_curves(systems[point["name"]] / stage).get("validation/loss", ((), ()))
            if values:
                of_point[f"{stage} validation loss", ""] = _cell(values[-1])
        for row in rows[point["name"]]:
            for name, entry in row["metrics"].items():
                column = name.removeprefix("oracle/"), _protocol(row["protocol"])
                of_point[column] = _cell(entry["value"], entry.get("interval"))
    columns = list(dict.fromkeys(column for of_point in cells.values() for column in of_point))
    # Long names of knobs may break at their dots.
    heads = [f"<th>{_text(knob).replace('.', '.<wbr>')}</th>" for knob in knobs or ["point"]]
    heads += [f"<th>{_text(n)}<br><small>{_text(about)}</small></th>" for n, about in columns]
    body = []
    for point in points:
        overrides = [point["overrides"].get(knob, "") for knob in knobs] or [point["name"]]
        line = [f"<td>{_text(value)}</td>" for value in overrides]
        line += [cells[point["name"]].get(column, '<td data-value=""></td>') for column in columns]
        body.append(f'<tr title="{_text(point["name"])}">{"".join(line)}</tr>')
    return (
        '<h2>Results</h2><div class="wide"><table class="sortable"><thead><tr>'
        f"{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _protocol(protocol: Mapping[str, Any]) -> str:
    """A protocol but for its sampling, which is what may be swept, as a few words."""
    about = f"{protocol['num_images']} images, {protocol['features'].partition(':')[0]}"
    manifest = protocol.get("manifest_sha256")
    return about + (f", captions {manifest[:8]}" if manifest else "")


def _cell(value: float, interval: Sequence[float] | None = None) -> str:
    around = f" <small>[{interval[0]:.4g}, {interval[1]:.4g}]</small>" if interval else ""
    return f'<td data-value="{value!r}">{value:.4g}{around}</td>'


def _curves(points: Sequence[Mapping[str, Any]], runs: Path) -> list[str]:
    """A plot for each stage and curve, in which each run stands once."""
    users: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for point in points:
        for stage, key in point["runs"].items():
            users.setdefault(stage, {}).setdefault(key, []).append(point["overrides"])
    plots = []
    for stage, of_runs in users.items():
        for curve in CURVES:
            lines = {
                _run_name(of_run, points): found
                for key, of_run in of_runs.items()
                if (found := read_curves(runs / key).get(curve)) is not None
            }
            if lines:
                plots.append(f"<div>{plot(f'{stage}: {curve}', lines)}</div>")
    if not plots:
        return ['<p class="quiet">No run has logged anything yet.</p>']
    return ['<div class="curves">', *plots, "</div>"]


def _run_name(users: Sequence[Mapping[str, Any]], points: Sequence[Mapping[str, Any]]) -> str:
    """What the points that have a run in common have in common, and not all points have."""
    shared = {k: v for k, v in users[0].items() if all(other.get(k, v) == v for other in users)}
    every = [point["overrides"] for point in points]
    told = [f"{k}={v}" for k, v in shared.items() if any(o.get(k) != v for o in every)]
    return ", ".join(told) or "all points"


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


def _heading(overrides: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """A point's overrides in short, a line each."""
    names = short_names(list(dict.fromkeys(knob for p in points for knob in p["overrides"])))
    return "<br>".join(_text(f"{names[k]}={v}") for k, v in overrides.items())


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
            f"<tr><td>{_text(caption)}</td>"
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


def _differences(points: Sequence[Mapping[str, Any]]) -> str:
    """Two menus of points, and the knobs that differ between them."""
    flat = {point["name"]: dict(_flatten(point["config"])) for point in points}
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


def _text(value: Any) -> str:
    return html.escape(str(value))
