"""The files of a figure that was made: picture, tidy table, and a record of its claims and cost."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.figures.figure import Row
from dalle_jax.figures.rows import BY_CAPTION, LEFT_OUT
from dalle_jax.figures.verdict import Claim, overall
from dalle_jax.files import csv_text, write_atomically
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.record import git_revision, made_by, time_covered, versions


@dataclass(frozen=True)
class Results:
    """What is measured for a figure.

    Attributes:
        rows: of the tidy table.
        images: that are shown, by name.
        done: what was trained and measured for it, each with its cost, machine and code, as
            `record.ended_now` gives them.
        missing: what is not measured yet, in words.
        changed: settings of all points that differ from the figure's file.
    """

    rows: Sequence[Row]
    images: Mapping[str, np.ndarray]
    done: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()
    changed: Mapping[str, Any] = field(default_factory=dict)


def save(record: Mapping[str, Any], rows: Sequence[Row], picture: Any, out: Path) -> list[Path]:
    """Write NAME.png, .pdf, .csv and .json in the folder `out`; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{record['figure']}.{kind}" for kind in ("png", "pdf", "csv", "json")]
    picture.savefig(paths[0], dpi=150)
    picture.savefig(paths[1], metadata={"CreationDate": None})
    table = csv_text([cells(row) for row in rows])
    for path, text in zip(
        paths[2:], (table, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    ):
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
    return paths


def record_of(name: str, scale: str, claims: Sequence[Claim], found: Results) -> dict[str, Any]:
    """What NAME.json says: the claims, and how the figure was made."""
    seeds = {
        what: sorted({str(row[column]) for row in found.rows if row.get(column) not in (None, "")})
        for what, column in (("training", "seed"), ("sampling", "sampling_seeds"))
    }
    by = made_by(found.done)
    return {
        "figure": name,
        "scale": scale,
        "complete": not found.missing,
        **({"missing": list(found.missing)} if found.missing else {}),
        "verdict": overall(claims),
        "claims": [_claim(claim) for claim in claims],
        "date": max((line["ended"] for line in found.done), default=time.strftime("%Y-%m-%d"))[:10],
        "machine": " and ".join(by["machine"]) or own_machine(),
        "seconds": round(time_covered(found.done), 1),
        "core_seconds": round(sum(line["core_seconds"] for line in found.done), 1),
        "seeds": seeds,
        "runs": sorted({row["runs"] for row in found.rows if "runs" in row}),
        "git_revision": " ".join(by["git_revision"]) or git_revision(),
        "versions": by["versions"] or versions(),
    }


def cells(row: Row) -> dict[str, Any]:
    """A row as a line of a CSV file: numbers to six digits, lists as text."""
    as_cell = {float: lambda v: float(f"{v:.6g}"), list: json.dumps, tuple: json.dumps}
    return {
        name: as_cell.get(type(value), lambda v: v)(value)
        for name, value in row.items()
        if name not in (BY_CAPTION, LEFT_OUT)
    }


def _claim(claim: Claim) -> dict[str, Any]:
    value, interval, basis = claim.estimate
    return {
        "statement": claim.statement,
        "verdict": claim.verdict,
        "found": found_text(claim),
        "estimate": _finite(value),
        "interval": interval and [_finite(end) for end in interval],
        "basis": basis,
        "above": _finite(claim.above),
        "below": _finite(claim.below),
        "unit": claim.unit,
        "published": claim.published,
        **({"one_training": True} if claim.one_training else {}),
    }


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def found_text(claim: Claim) -> str:
    """What was found, with its interval and what it comes from."""
    value, interval, basis = claim.estimate
    if value != value:
        return "not measured"
    unit = f" {claim.unit}" if claim.unit else ""
    basis += ", whose chance may decide" if claim.one_training else ""
    around = f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else ""
    return f"{value:.3g}{around}{unit}" + (f" ({basis})" if basis else "")


def why_not_replaced(record: Mapping[str, Any], out: Path) -> str:
    """Why an incomplete figure can't be saved in `out`; "" if it can."""
    before = read_record(out, record["figure"])
    if before is None or is_whole(record) or not is_whole(before):
        return ""
    return (
        f"{out / record['figure']}.json is a whole figure and is not replaced by a part of one "
        f"({lacking(record['missing'])}); give another --out, or let the same command go on"
    )


def read_record(results: Path, name: str) -> dict[str, Any] | None:
    """The record of a figure in a folder; None if it was not made."""
    path = results / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether all that the figure shows was measured."""
    return record.get("complete", True)


def lacking(missing: Sequence[str]) -> str:
    """The first of what is missing, and the number of the others."""
    first, *more = missing
    return f"{first}{f' and {len(more)} more' if more else ''} {'are' if more else 'is'} missing"
