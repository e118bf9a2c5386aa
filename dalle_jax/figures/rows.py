"""Rows of a figure's tidy table, and the numbers made of them that claims are about."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dalle_jax.figures.figure import Row
from dalle_jax.figures.verdict import MISSING, Estimate
from dalle_jax.metrics.intervals import bootstrap, wilson

# Of a row in memory, to compare models by. They are not columns of the CSV file.
BY_CAPTION, LEFT_OUT = "by_caption", "left_out"


def find(rows: Sequence[Row], metric: str, **where: Any) -> Row | None:
    """The row of a metric whose columns are as given; None if there is none.

    `metric` is its name, or the part of it before the network in brackets, as "FD" of
    "FD[classifier:0123456789ab]".

    Raises:
        ValueError: several rows fit.
    """
    found = select(rows, metric, **where)
    if len(found) > 1:
        differing = [k for k in found[0] if len({str(row.get(k)) for row in found}) > 1]
        raise ValueError(
            f"{len(found)} rows of {metric} have {where}; they differ in {', '.join(differing)}"
        )
    return found[0] if found else None


def select(rows: Sequence[Row], metric: str, **where: Any) -> list[Row]:
    """All rows of a metric whose columns are as given, in their order."""
    return [
        row
        for row in rows
        if row["metric"].partition("[")[0] == metric.partition("[")[0]
        and row["metric"].startswith(metric)
        and all(row.get(name) == value for name, value in where.items())
    ]


def series(rows: Sequence[Row], metric: str, over: str, **where: Any) -> dict[Any, Row]:
    """The rows of a metric by the column `over`, in its order; what was not measured is not there.

    Raises:
        ValueError: several rows fit one value.
    """
    values = sorted({row[over] for row in select(rows, metric, **where)})
    return {value: find(rows, metric, **{over: value}, **where) for value in values}


def num_images(rows: Sequence[Row]) -> int:
    """Of how many captions or images the rows are at most."""
    return max((row.get("num_images") or 0 for row in rows), default=0)


def difference(a: Row | None, b: Row | None) -> Estimate:
    """b − a of one metric, on the same captions and noise where that is known of each caption.

    Scores of captions are compared caption by caption, distances by a paired jackknife. What is
    not measured, or only without its error, gives no interval to judge by. An interval is over
    captions; where the two are of different trainings, the basis says that there is one of each.

    Raises:
        ValueError: the rows are of different metrics, captions or seeds.
    """
    if a is None or b is None:
        return MISSING
    for name in ("metric", "num_images", "sampling_seeds", "data"):
        if a.get(name) != b.get(name):
            raise ValueError(f"rows of {name} {a.get(name)} and {b.get(name)} can't be compared")
    found = _difference(a, b)
    runs = {a.get("runs"), b.get("runs")}
    one_each = len(runs) == 2 and None not in runs
    return found._replace(basis=found.basis + "; one training each") if one_each else found


def _difference(a: Row, b: Row) -> Estimate:
    value = b["value"] - a["value"]
    if BY_CAPTION in a and BY_CAPTION in b:
        return _of_captions(np.asarray(b[BY_CAPTION]) - np.asarray(a[BY_CAPTION]))
    if LEFT_OUT in a and LEFT_OUT in b:
        from dalle_jax.metrics.paired import paired_distances

        found = paired_distances(a["value"], b["value"], a[LEFT_OUT], b[LEFT_OUT])
        return Estimate(value, found.interval, f"{a['num_images']} captions, paired jackknife")
    return Estimate(value, (-math.inf, math.inf), "of unknown error")


def difference_of_differences(
    a: tuple[Row | None, Row | None], b: tuple[Row | None, Row | None]
) -> Estimate:
    """By how much more a distance grows from b's first row to its second than from a's to a's.

    By the jackknife of `difference`; what is not measured gives no interval to judge by.
    """
    rows = (*a, *b)
    if any(row is None or LEFT_OUT not in row for row in rows):
        return MISSING
    if len({(row["metric"], row["num_images"]) for row in rows}) > 1:
        raise ValueError("rows of several metrics or numbers of captions can't be compared")
    from dalle_jax.metrics.paired import paired_distances

    grown = [second["value"] - first["value"] for first, second in (a, b)]
    without = [np.subtract(second[LEFT_OUT], first[LEFT_OUT]) for first, second in (a, b)]
    found = paired_distances(*grown, *without)
    basis = f"{rows[0]['num_images']} captions, paired jackknife"
    return Estimate(found.difference, found.interval, basis)


def mean(values: Sequence[float], of: str) -> Estimate:
    """The mean of one value for each of several `of` (images, captions), with its interval."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return MISSING
    basis = f"{len(values)} {of}"
    return Estimate(float(values.mean()), bootstrap(values), f"{basis}, bootstrap")


def counted(values: Sequence[float], of: str) -> Estimate:
    """How many of several `of` are 1 and not 0, as a share with its Wilson interval."""
    count = len(values)
    if not count:
        return MISSING
    interval = wilson(round(sum(values)), count)
    return Estimate(sum(values) / count, interval, f"{count} {of}, Wilson")


def _of_captions(differences: np.ndarray) -> Estimate:
    """Mean of [captions, seeds]; captions that have no score (NaN) are left out."""
    known = differences[np.isfinite(differences).all(1)].mean(1)
    if not len(known):
        return MISSING
    value, n = float(known.mean()), len(known)
    if np.ptp(known) == 0:
        # No resample would differ; among n captions not one was seen that changes.
        half = wilson(0, n)[1]
        return Estimate(value, (value - half, value + half), f"{n} captions, all alike")
    return Estimate(value, bootstrap(known), f"{n} captions, paired")
