"""What is kept of a figure that was made, and the lists that are made from what is kept."""

import ast
import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.figures.figure import HOLDS, Claim, Row, overall
from dalle_jax.files import write_atomically
from dalle_jax.sweeps.machine import own_machine
from dalle_jax.sweeps.record import git_revision, made_by, time_covered, versions

BEGIN = "<!-- figures: written by `dalle-jax figure --readme` -->"
END = "<!-- end of figures -->"


@dataclass(frozen=True)
class Made:
    """A figure that was made.

    Attributes:
        done: what was trained and measured for it, each with what it took, where and by what code:
            lines as `record.ended_now` gives them.
        missing: what it lacks, in words; nothing if it is whole.
    """

    name: str
    scale: str
    rows: Sequence[Row]
    claims: Sequence[Claim]
    done: Sequence[Mapping[str, Any]] = ()
    missing: Sequence[str] = ()


def save(made: Made, picture: Any, out: Path) -> tuple[dict[str, Any], list[Path]]:
    """NAME.png, .pdf, .csv and .json in the folder `out`; returns what the last says, and all."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"{made.name}.{kind}" for kind in ("png", "pdf", "csv", "json")]
    picture.savefig(paths[0], dpi=150)
    picture.savefig(paths[1], metadata={"CreationDate": None})
    record = _record(made)
    texts = _table(made.rows), json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    for path, text in zip(paths[2:], texts):
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
    return record, paths


def tell(record: Mapping[str, Any], source: Path, files: Sequence[Path]) -> None:
    """Print the claims with their numbers and verdicts."""
    print(f"{title_of(source)} ({record['scale']})")
    for claim in record["claims"]:
        print(f"\n  {claim['verdict'].upper()}: {claim['statement']}")
        print(f"    {claim['found']}")
        if claim["published"]:
            print(f"    published: {claim['published']}")
    print(f"\n{record['verdict']} · {cost_of(record)}")
    if not is_whole(record):
        print(f"IN PART: {lacking(record)}; the same command goes on")
    print(", ".join(map(str, files)))


def why_not_replaced(made: Made, out: Path) -> str:
    """Why a figure that is made in part can't be saved in `out`; "" if it can."""
    before = read_record(out, made.name)
    if before is None or not made.missing or not is_whole(before):
        return ""
    return (
        f"{out / made.name}.json is a whole figure and is not replaced by a part of one "
        f"({lacking({'missing': made.missing})}); give another --out, or let the same command go on"
    )


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether all that a figure is of was measured."""
    return record.get("complete", True)


def lacking(record: Mapping[str, Any]) -> str:
    """What a figure lacks, of much the first."""
    first, *more = record["missing"]
    return f"{first}{f' and {len(more)} more' if more else ''} {'are' if more else 'is'} missing"


def found_text(claim: Claim) -> str:
    """What was found, with its interval and what it comes from."""
    value, interval, basis = claim.estimate
    if value != value:
        return "not measured"
    unit = f" {claim.unit}" if claim.unit else ""
    basis += ", whose chance may decide" if claim.one_training else ""
    around = f" [{interval[0]:.3g}, {interval[1]:.3g}]" if interval else ""
    return f"{value:.3g}{around}{unit}" + (f" ({basis})" if basis else "")


def cost_of(record: Mapping[str, Any]) -> str:
    """Where it was made, for how long."""
    return (
        f"{_minutes(record['core_seconds'])} of a core, {_minutes(record['seconds'])} by the "
        f"clock, on {record['machine']}"
    )


def title_of(source: Path) -> str:
    """The first line of a figure's file; the file is not run."""
    return (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or source.stem).splitlines()[0]


def print_list(figures: Mapping[str, Path], results: Path) -> None:
    """The figures with what they cost and found."""
    for name, source in figures.items():
        record = read_record(results, name)
        status = "not made yet; --dry-run tells what it would take"
        if record is not None:
            status = f"{record['verdict']} ({record['scale']}, {record['date']}); {cost_of(record)}"
            status += "" if is_whole(record) else f"; IN PART: {lacking(record)}"
        print(f"{name:24}{title_of(source)}\n{'':24}{status}")


def read_record(results: Path, name: str) -> dict[str, Any] | None:
    """What is kept of a figure; None if it was not made."""
    path = results / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write_readme(figures: Mapping[str, Path], results: Path, readme: Path) -> None:
    """Put the list of figures, made from the results, between the marks of a README.

    Raises:
        ValueError: the marks are not there.
    """
    text = readme.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} has no line {BEGIN}, or none {END} after it")
    parts = [_section(name, source, results) for name, source in figures.items()]
    text = before + begin + "\n" + _overview(figures, results) + "\n".join(parts) + end + after
    write_atomically(readme, lambda file: file.write(text.encode()))
    print(f"{len(figures)} figures: {readme}")


def _overview(figures: Mapping[str, Path], results: Path) -> str:
    """A table of the figures: what each claims in a line, and how many of its claims hold."""
    lines = ["| figure | | claims that hold |", "|---|---|---|"]
    for name, source in figures.items():
        record = read_record(results, name)
        verdicts = [claim["verdict"] for claim in record["claims"]] if record else []
        held = f"{verdicts.count(HOLDS)} of {len(verdicts)}" if record else "not made yet"
        lines.append(f"| [{name}](#{name}) | {title_of(source)} | {held} |")
    return "\n".join(lines) + "\n\n"


def _section(name: str, source: Path, results: Path) -> str:
    """A figure in the README: its picture, its claims, and a link to the notes in NAME.md."""
    record = read_record(results, name)
    lines = [f"### {name}", title_of(source), ""]
    if record is None:
        return "\n".join([*lines, "Not made yet.", "", ""])
    where = results.name
    lines += [f'<img src="{where}/{name}.png" width="480" alt="{name}">', ""]
    lines += ["| claim | found here | published | |", "|---|---|---|---|"]
    for claim in record["claims"]:
        cells = (claim["statement"], claim["found"], claim["published"] or "–", claim["verdict"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    made = [f"`{record['scale']}`, {record['date']}, {cost_of(record)}", _seeds(record)]
    made += [f"of {', '.join(record['runs'])}"] if record["runs"] else []
    lines += ["", "; ".join(filter(None, made)) + ".", ""]
    lines += [] if is_whole(record) else [f"Made in part: {lacking(record)}.", ""]
    if (results / f"{name}.md").exists():
        lines += [f"What was looked into: [notes]({where}/{name}.md).", ""]
    return "\n".join([*lines, ""])


def _record(made: Made) -> dict[str, Any]:
    """How it was made and what it says, as it is kept."""
    seeds = {
        what: sorted({str(row[column]) for row in made.rows if row.get(column) not in (None, "")})
        for what, column in (("training", "seed"), ("sampling", "sampling_seeds"))
    }
    by = made_by(made.done)
    return {
        "figure": made.name,
        "scale": made.scale,
        "complete": not made.missing,
        **({"missing": list(made.missing)} if made.missing else {}),
        "verdict": overall(made.claims),
        "claims": [_claim(claim) for claim in made.claims],
        "date": max((line["ended"] for line in made.done), default=time.strftime("%Y-%m-%d"))[:10],
        "machine": " and ".join(by["machine"]) or own_machine(),
        "seconds": round(time_covered(made.done), 1),
        "core_seconds": round(sum(line["core_seconds"] for line in made.done), 1),
        "seeds": seeds,
        "runs": sorted({row["runs"] for row in made.rows if "runs" in row}),
        "git_revision": " ".join(by["git_revision"]) or git_revision(),
        "versions": by["versions"] or versions(),
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
    """JSON knows neither infinity nor what is no number."""
    return value if math.isfinite(value) else None


def _table(rows: Sequence[Row]) -> str:
    from dalle_jax.figures.rows import cells

    lines = [cells(row) for row in rows]
    columns = list(dict.fromkeys(column for line in lines for column in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _seeds(record: Mapping[str, Any]) -> str:
    kept = {what: " ".join(seeds) for what, seeds in record["seeds"].items() if seeds}
    return ", ".join(f"seed of {what} {seeds}" for what, seeds in kept.items())


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
