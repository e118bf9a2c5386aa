"""Ranking of results rows by a metric, which refuses rows of different protocols."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dalle_jax.metrics.lookup import settings_read
from dalle_jax.metrics.protocol import NAMES


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, tuple]:
    """The values in a and b of each field in which the protocols differ, by its dotted name."""
    differing = {}
    for name in sorted(a.keys() | b.keys()):
        if not prefix and name in NAMES:
            continue
        x, y, path = a.get(name), b.get(name), prefix + name
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            differing |= differences(x, y, path + ".")
        elif x != y:
            differing[path] = (x, y)
    return differing


def metric_protocol(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The protocol of a row with only those settings that one of its metrics reads."""
    protocol = dict(row["protocol"])
    read = row["metrics"].get(metric, {}).get("settings", settings_read(metric))
    if read is not None and "settings" in protocol:
        protocol["settings"] = {k: v for k, v in protocol["settings"].items() if k in read}
    return protocol


def rank(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    larger_is_better: bool = False,
    vary: Sequence[str] = (),
) -> list[Mapping[str, Any]]:
    """Results rows ordered by a metric, best first, if their protocols agree in all that it reads.

    Rows whose value is NaN or not a number come last.

    Args:
        rows: each with "protocol" and "metrics": {name: {"value": ...}}.
        metric: to rank by.
        larger_is_better: whether larger values of the metric are better.
        vary: dotted names of fields that may differ because they are compared, as
            "sampling.guidance_scale".

    Raises:
        ValueError: two rows have different protocols (the message lists the differences), or a row
            does not have the metric.
    """
    for i, row in enumerate(rows):
        differing = {
            name: values
            for name, values in differences(
                metric_protocol(rows[0], metric), metric_protocol(row, metric)
            ).items()
            if not any(name == free or name.startswith(free + ".") for free in vary)
        }
        if differing:
            listed = "; ".join(f"{name} is {x!r} and {y!r}" for name, (x, y) in differing.items())
            raise ValueError(
                f"rows 1 and {i + 1} have different protocols and can't be ranked: {listed}"
            )
        if metric not in row["metrics"]:
            raise ValueError(f"row {i + 1} has no {metric!r}; it has {', '.join(row['metrics'])}")

    def sort_key(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row["metrics"][metric].get("value")
        if not isinstance(value, int | float) or math.isnan(value):
            return True, 0.0
        return False, -value if larger_is_better else value

    return sorted(rows, key=sort_key)
