"""Results rows as tables in the terminal, and as cells for other pages."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from dalle_jax.evaluation.digits import fitted

LABELS = {
    "oracle/caption": "whole caption",
    "oracle/object": "each object",
    "oracle/statement": "each statement",
}


class Line(NamedTuple):
    """One metric of a row as text."""

    name: str
    value: str
    interval: str
    seeds: str
    floor: str
    unbiased: str = ""


def lines_of(row: Mapping[str, Any]) -> list[Line]:
    """The lines of a row's metrics, in their order."""
    floor = row.get("floor", {})
    lines = []
    for name, entry in row["metrics"].items():
        percent = name.startswith("oracle/")
        interval, std = entry.get("interval"), entry.get("std_of_seeds")
        text = fitted(entry["value"], interval, percent=percent)
        unbiased = ""
        if is_biased(name, entry, row["protocol"]["num_images"]) and "extrapolated" in entry:
            error = entry["extrapolated_standard_error"]
            around = fitted(entry["extrapolated"], (-error, error))
            unbiased = f"{around(entry['extrapolated'])} ± {around(error)}"
        lines.append(
            Line(
                label(name),
                text(entry["value"]),
                f"{text(interval[0])} – {text(interval[1])}" if interval else "",
                "" if std is None else f"± {text(std)}",
                text(floor[name]) if name in floor else "",
                unbiased,
            )
        )
    return lines


def is_biased(name: str, entry: Mapping[str, Any], num_images: int) -> bool:
    """Whether a metric is a Fréchet distance of fewer images than features.

    Its covariances are then singular, and it is clearly too large.
    """
    return num_images < num_features(name, entry)


def num_features(name: str, entry: Mapping[str, Any]) -> int:
    """The length of a Fréchet distance's features; 0 if unknown, and for other metrics."""
    # Older rows do not record it, but only have Inception's two taps.
    return int(entry.get("num_features", {"fid": 2048, "sfid": 2023}.get(name, 0)))


def headings(row: Mapping[str, Any]) -> Line:
    """The headings of the columns of `lines_of`."""
    protocol = row["protocol"]
    seeds = (protocol.get("sampling") or {}).get("seeds", ())
    what = "real against real" if protocol["reference"] else "real images"
    floor = f"{what}, n = {row['floor']['num_images']}" if row.get("floor") else ""
    spread = f"deviation of {len(seeds)} seeds" if len(seeds) > 1 else ""
    return Line("metric", "value", "95 % interval", spread, floor, "at n → ∞")


def title(row: Mapping[str, Any]) -> str:
    """The title of a row's table: images, reference, features and protocol."""
    protocol = row["protocol"]
    about = f"{protocol['num_images']} images"
    if "data" in row:
        about += f" of {row['data']} captions"
    if protocol["reference"]:
        about += f" against {protocol['reference']}"
    weights = f" {protocol['features_sha256'][:12]}" if protocol["features_sha256"] else ""
    return f"{about}, {protocol['features']}{weights}, protocol {row['protocol_hash']}"


def of_weights(run: Mapping[str, Any]) -> str:
    """A remark on the weights of a row's stage, empty for EMA weights."""
    return "" if run["weights"] == "ema" else f", {run['weights']} weights"


def label(name: str) -> str:
    """A metric's name for people."""
    short = name.removeprefix("oracle/").replace("caption_of_", "whole caption, objects: ")
    return LABELS.get(name, short)


def print_row(row: Mapping[str, Any]) -> None:
    """Print a row as a table without empty columns."""
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
    for text in (*bias_remarks(row), *remarks(row)):
        print(text)


def bias_remarks(row: Mapping[str, Any]) -> list[str]:
    """A sentence for each Fréchet distance of fewer images than features."""
    num_images = row["protocol"]["num_images"]
    return [
        f"{label(name)} is biased upwards: {num_images} images are fewer than its "
        f"{num_features(name, entry)} features"
        + (
            f"; at n → ∞ (FD∞) it is {line.unbiased}"
            if line.unbiased
            else "; without intervals there is no FD∞"
        )
        for (name, entry), line in zip(row["metrics"].items(), lines_of(row))
        if is_biased(name, entry, num_images)
    ]


def remarks(row: Mapping[str, Any]) -> list[str]:
    """Sentences on leakage."""
    if "leakage" not in row:
        return []
    found = ", ".join(
        f"{100 * kind['share']:.1f} % by {name.replace('_', ' ')}{threshold(kind)}"
        for name, kind in row["leakage"].items()
    )
    texts = [f"also in the training data: {found}"]
    for name, whose in (
        ("without_leaked", "whose images are not in the training data"),
        ("without_neighbours", "without a feature neighbour there either"),
    ):
        if name not in row:
            continue
        without = row[name]
        cleaned = {"protocol": row["protocol"], "metrics": without["metrics"]}
        values = ", ".join(f"{line.name} {line.value}" for line in lines_of(cleaned))
        texts.append(f"on the {without['num_images']} {whose}: {values or without['reason']}")
    return texts


def threshold(kind: Mapping[str, Any]) -> str:
    """The threshold of feature neighbours; empty for other kinds of leakage."""
    if "cosine" not in kind:
        return ""
    return (
        f" (cosine ≥ {kind['cosine']} in {kind['features']}, where the median of the nearest is "
        f"{kind['median_cosine']:.3f})"
    )
