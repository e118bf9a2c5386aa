"""Rows of results as tables: in the terminal, and as cells for whoever draws them otherwise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

LABELS = {"oracle/caption": "whole caption", "oracle/object": "each object"}


class Line(NamedTuple):
    """One metric of a row as text."""

    name: str
    value: str
    interval: str
    seeds: str
    floor: str


def lines_of(row: Mapping[str, Any]) -> list[Line]:
    """The metrics of a row, in its order."""
    floor = row.get("floor", {})
    lines = []
    for name, entry in row["metrics"].items():
        text = _percent if name.startswith("oracle/") else _plain
        interval, std = entry.get("interval"), entry.get("std_of_seeds")
        lines.append(
            Line(
                label(name),
                text(entry["value"]),
                f"{text(interval[0])} – {text(interval[1])}" if interval else "",
                "" if std is None else f"± {text(std)}",
                text(floor[name]) if name in floor else "",
            )
        )
    return lines


def headings(row: Mapping[str, Any]) -> Line:
    """What the columns of `lines_of` are."""
    protocol = row["protocol"]
    seeds = (protocol.get("sampling") or {}).get("seeds", ())
    what = "real against real" if protocol["reference"] else "real images"
    floor = f"{what}, n = {row['floor']['num_images']}" if row.get("floor") else ""
    spread = f"deviation of {len(seeds)} seeds" if len(seeds) > 1 else ""
    return Line("metric", "value", "95 % interval", spread, floor)


def title(row: Mapping[str, Any]) -> str:
    """What a row is of."""
    protocol = row["protocol"]
    about = f"{protocol['num_images']} images"
    if "data" in row:
        about += f" of {row['data']} captions"
    if protocol["reference"]:
        about += f" against {protocol['reference']}"
    weights = f" {protocol['features_sha256'][:12]}" if protocol["features_sha256"] else ""
    return f"{about}, {protocol['features']}{weights}, protocol {row['protocol_hash']}"


def of_weights(run: Mapping[str, Any]) -> str:
    """What is to be said of the weights of a row's stage: nothing of averaged ones."""
    return "" if run["weights"] == "ema" else f", {run['weights']} weights"


def label(name: str) -> str:
    """A metric's name for people."""
    short = name.removeprefix("oracle/").replace("caption_of_", "whole caption, objects: ")
    return LABELS.get(name, short)


def print_row(row: Mapping[str, Any]) -> None:
    """A row as a table in the terminal; columns with nothing in them are left out."""
    from rich.console import Console
    from rich.table import Table

    heads, lines = headings(row), lines_of(row)
    columns = [i for i, head in enumerate(heads) if head and any(line[i] for line in lines)]
    table = Table(title=title(row))
    for i in columns:
        table.add_column(heads[i], justify="left" if i == 0 else "right", no_wrap=i == 0)
    for line in lines:
        table.add_row(*(line[i] for i in columns))
    # Brackets are part of names, as in FD[clip:…].
    Console(markup=False).print(table)
    for text in remarks(row):
        print(text)


def remarks(row: Mapping[str, Any]) -> list[str]:
    """What is to be said of leakage."""
    if "leakage" not in row:
        return []
    found = ", ".join(
        f"{100 * kind['share']:.1f} % by {name.replace('_', ' ')}{threshold(kind)}"
        for name, kind in row["leakage"].items()
    )
    texts = [f"also in the training data: {found}"]
    for name, whose in (
        ("without_leaked", "whose images are not"),
        ("without_neighbours", "that have no neighbour of features there either"),
    ):
        if name not in row:
            continue
        without = row[name]
        cleaned = {"protocol": row["protocol"], "metrics": without["metrics"]}
        values = ", ".join(f"{line.name} {line.value}" for line in lines_of(cleaned))
        texts.append(f"on the {without['num_images']} {whose}: {values or without['reason']}")
    return texts


def threshold(kind: Mapping[str, Any]) -> str:
    """What makes a neighbour in a space of features, where that is the kind of leakage."""
    if "cosine" not in kind:
        return ""
    return (
        f" (cosine ≥ {kind['cosine']} in {kind['features']}, where the median of the nearest is "
        f"{kind['median_cosine']:.3f})"
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _plain(value: float) -> str:
    return f"{value:.4f}"
