"""What is kept of a figure that was made, and the lists that are made from what is kept."""

import ast
import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax import cpu
from dalle_jax.data.checked import write_atomically
from dalle_jax.sweeps.figure import Claim, Row, overall
from dalle_jax.sweeps.record import git_revision, versions
from dalle_jax.sweeps.workers import visible_gpus

BEGIN = "<!-- figures: written by `dalle-jax figure --readme` -->"
END = "<!-- end of figures -->"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Made:
    """A figure that was made.

    Attributes:
        seconds: that it and all that was trained and measured for it took by the clock.
        core_seconds: of CPU cores.
    """

    name: str
    scale: str
    rows: Sequence[Row]
    claims: Sequence[Claim]
    seconds: float
    core_seconds: float


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
    print(", ".join(map(str, files)))


def found_text(claim: Claim) -> str:
    """What was found, with its interval and what it comes from."""
    value, interval, basis = claim.estimate
    if value != value:
        return "not measured"
    unit = f" {claim.unit}" if claim.unit else ""
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
    return (ast.get_docstring(ast.parse(source.read_text())) or source.stem).splitlines()[0]


def print_list(figures: Mapping[str, Path], results: Path) -> None:
    """The figures with what they cost and found."""
    for name, source in figures.items():
        record = read_record(results, name)
        status = "not made yet; --dry-run tells what it would take"
        if record is not None:
            status = f"{record['verdict']} ({record['scale']}, {record['date']}); {cost_of(record)}"
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
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{readme} has no line {BEGIN}, or none {END} after it")
    parts = [_section(name, source, results) for name, source in figures.items()]
    text = before + begin + "\n" + "\n".join(parts) + end + after
    write_atomically(readme, lambda file: file.write(text.encode()))
    print(f"{len(figures)} figures: {readme}")


def _section(name: str, source: Path, results: Path) -> str:
    """A figure in the README: its picture, its claims, and what a person remarks in NAME.md."""
    record = read_record(results, name)
    lines = [f"### {name}", title_of(source), ""]
    if record is None:
        return "\n".join([*lines, "Not made yet.", "", ""])
    where = results.name
    lines += [f'<a href="{where}/{name}.png"><img src="{where}/{name}.png" width="480"></a>', ""]
    lines += ["| claim | found here | published | |", "|---|---|---|---|"]
    for claim in record["claims"]:
        cells = (claim["statement"], claim["found"], claim["published"] or "–", claim["verdict"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    made = [f"`{record['scale']}`, {record['date']}, {cost_of(record)}", _seeds(record)]
    made += [f"of {', '.join(record['runs'])}"] if record["runs"] else []
    lines += ["", "; ".join(filter(None, made)) + ".", ""]
    remark = results / f"{name}.md"
    return "\n".join([*lines, *([remark.read_text()] if remark.exists() else []), ""])


def _record(made: Made) -> dict[str, Any]:
    """How it was made and what it says, as it is kept."""
    seeds = {
        what: sorted({str(row[column]) for row in made.rows if row.get(column) not in (None, "")})
        for what, column in (("training", "seed"), ("sampling", "sampling_seeds"))
    }
    return {
        "figure": made.name,
        "scale": made.scale,
        "verdict": overall(made.claims),
        "claims": [_claim(claim) for claim in made.claims],
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "seconds": round(made.seconds, 1),
        "core_seconds": round(made.core_seconds, 1),
        "seeds": seeds,
        "runs": sorted({row["runs"] for row in made.rows if "runs" in row}),
        "git_revision": git_revision(),
        "versions": versions(),
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
    }


def _finite(value: float) -> float | None:
    """JSON knows neither infinity nor what is no number."""
    return value if math.isfinite(value) else None


def machine() -> str:
    """What jobs of this process compute on, in words."""
    import jax

    if jax.config.jax_platforms == "cpu" and visible_gpus():
        # This process leaves the GPUs to the jobs, so another is asked; it is to take no memory.
        code = f"from {__name__} import machine; print(machine())"
        frugal = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, env=frugal, text=True).strip()
    devices = jax.devices()
    if devices[0].platform == "cpu":
        count = len(os.sched_getaffinity(0))
        return f"{_number(count)} CPU core{'s' * (count > 1)} {cpu.vectors()}".strip()
    kind = devices[0].device_kind
    return f"{_number(len(devices))} × {kind}" if len(devices) > 1 else f"one {kind}"


def _table(rows: Sequence[Row]) -> str:
    from dalle_jax.sweeps.figure_rows import cells

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


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
