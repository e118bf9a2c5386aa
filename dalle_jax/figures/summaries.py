"""Records of figures in words: of one that was made, of all in the terminal and in README.md."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.figures.record import is_whole, lacking, read_record
from dalle_jax.figures.verdict import HOLDS
from dalle_jax.files import write_atomically

BEGIN = "<!-- figures: written by `dalle-jax figure --readme` -->"
END = "<!-- end of figures -->"


def print_record(record: Mapping[str, Any], source: Path, files: Sequence[Path]) -> None:
    """Print the claims with their numbers and verdicts."""
    print(f"{title_of(source)} ({record['scale']})")
    for claim in record["claims"]:
        print(f"\n  {claim['verdict'].upper()}: {claim['statement']}")
        print(f"    {claim['found']}")
        if claim["published"]:
            print(f"    published: {claim['published']}")
    print(f"\n{record['verdict']} · {cost_of(record)}")
    if not is_whole(record):
        print(f"IN PART: {lacking(record['missing'])}; the same command goes on")
    print(", ".join(map(str, files)))


def print_list(figures: Mapping[str, Path], results: Path) -> None:
    """Print each figure with its verdict and cost."""
    for name, source in figures.items():
        record = read_record(results, name)
        status = "not made yet; --dry-run says what it would take"
        if record is not None:
            status = f"{record['verdict']} ({record['scale']}, {record['date']}); {cost_of(record)}"
            status += "" if is_whole(record) else f"; IN PART: {lacking(record['missing'])}"
        print(f"{name:24}{title_of(source)}\n{'':24}{status}")


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
    lines += [] if is_whole(record) else [f"Made in part: {lacking(record['missing'])}.", ""]
    if (results / f"{name}.md").exists():
        lines += [f"What was looked into: [notes]({where}/{name}.md).", ""]
    return "\n".join([*lines, ""])


def _seeds(record: Mapping[str, Any]) -> str:
    known = {what: " ".join(seeds) for what, seeds in record["seeds"].items() if seeds}
    return ", ".join(f"seed of {what} {seeds}" for what, seeds in known.items())


def cost_of(record: Mapping[str, Any]) -> str:
    """What a figure cost, and on which machine."""
    return (
        f"{_minutes(record['core_seconds'])} of a core, {_minutes(record['seconds'])} by the "
        f"clock, on {record['machine']}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def title_of(source: Path) -> str:
    """The first line of a figure's file; the file is not run."""
    return (ast.get_docstring(ast.parse(source.read_text("utf-8"))) or source.stem).splitlines()[0]


def print_full_scale(path: Path, configs: Sequence[str]) -> None:
    """Print how the full-scale configs of a figure are trained."""
    print(
        f"{path.stem} at the paper's scale is of {', '.join(configs)}: for a pod, not from here.\n"
    )
    print("What a step of them takes of each device, and their training:")
    for config in configs:
        print(f"  dalle-jax train --config={config} --explain --mesh=fsdp=8,data=8")
        print(f"  dalle-jax train --config={config} --workdir=WORKDIR --config.data.source=SOURCE")
    small = f"dalle-jax figure {path.stem} --scale=small --dry-run"
    print(f"\n`{small}` says what is varied, as overrides of a config.")
