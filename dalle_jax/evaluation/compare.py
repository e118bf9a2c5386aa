"""Rank rows of results by a metric, and test each against the best."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from dalle_jax.evaluation.digits import fitted
from dalle_jax.evaluation.tables import bias_remarks, headings, lines_of, of_weights
from dalle_jax.metrics import ranking
from dalle_jax.metrics.lookup import is_larger_better
from dalle_jax.metrics.paired import Paired, paired, paired_distances
from dalle_jax.metrics.results import find_row, read_rows, read_scores


class Candidate(NamedTuple):
    """A results row and its file."""

    path: Path
    row: Mapping[str, Any]


def compare(
    paths: Sequence[Path],
    metric: str | None,
    *,
    vary: Sequence[str] = (),
    protocol_hash: str | None = None,
) -> list[Candidate]:
    """Rank the rows of files of results by a metric, best first, and print the table.

    Args:
        paths: files of rows, `results.jsonl`.
        metric: as `oracle/caption`, `fid`, `fd`, `precision`.
        vary: what may differ between protocols, as `sampling.guidance_scale`.
        protocol_hash: only rows of this protocol.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no row has the metric, or rows are of different protocols.
    """
    candidates = read(paths, protocol_hash)
    if not metric:
        known = dict.fromkeys(name for c in candidates for name in c.row["metrics"])
        raise ValueError(
            f"give the --metric to rank by; the rows have {', '.join(known) or 'none'}"
        )
    metric = find_metric(metric, [c.row for c in candidates])
    ranked = rank(candidates, metric, vary)
    show(ranked, metric, vary)
    return ranked


def read(paths: Sequence[Path], protocol_hash: str | None) -> list[Candidate]:
    """The rows of the files, of each protocol and model in a file the newest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a row, or no row has that protocol.
    """
    candidates = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of results {path}")
        rows = read_rows(path)
        for number, row in enumerate(rows, 1):
            if missing := {"num_images", "manifest_sha256"} - row["protocol"].keys():
                raise ValueError(
                    f"row {number} of {path} can't be compared: its protocol has no {min(missing)}"
                )
            # Rows of two sets of images have no model.
            newest = find_row(rows, row["protocol_hash"], row["model"]) if row.get("model") else row
            if row is newest and protocol_hash in (None, row["protocol_hash"]):
                candidates.append(Candidate(path, row))
    if not candidates:
        which = f" of protocol {protocol_hash}" if protocol_hash else ""
        raise ValueError(f"there are no rows{which} in {', '.join(map(str, paths))}")
    return candidates


def find_metric(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The full name of a metric: `name` itself, or the only `NAME[…]` or `oracle/NAME`.

    Raises:
        ValueError: there is none, or there are several, with different features.
    """
    known = list(dict.fromkeys(metric for row in rows for metric in row["metrics"]))
    if name in known:
        return name
    short = lambda metric: metric.partition("[")[0].removeprefix("oracle/").lower()
    found = [metric for metric in known if short(metric) == name.lower()]
    if not found:
        raise ValueError(f"no row has the metric {name!r}; there are {', '.join(known) or 'none'}")
    if len(found) > 1:
        raise ValueError(
            f"rows have {name} of different features, which can't be ranked: {', '.join(found)}; "
            "name one of them"
        )
    return found[0]


def rank(candidates: Sequence[Candidate], metric: str, vary: Sequence[str]) -> list[Candidate]:
    """The rows that have the metric, best first.

    Raises:
        ValueError: two of them have different protocols.
    """
    having = [c for c in candidates if metric in c.row["metrics"]]
    try:
        ranked = ranking.rank(
            [c.row for c in having], metric, larger_is_better=is_larger_better(metric), vary=vary
        )
    except ValueError as error:
        hashes = ", ".join(dict.fromkeys(c.row["protocol_hash"] for c in having))
        raise ValueError(
            f"{error}. Choose one protocol with --protocol ({hashes}), or name in --vary what is "
            "compared"
        ) from error
    return [next(c for c in having if c.row is row) for row in ranked]


def tests_against_best(ranked: Sequence[Candidate], metric: str) -> list[Paired | None]:
    """The `Paired` of each row and the first, or None; see `test`."""
    best, *others = ranked
    return [None, *(test(best, other, metric) for other in others)]


def test(a: Candidate, b: Candidate, metric: str) -> Paired | None:
    """The paired test of two rows, or None.

    It needs the same captions and sampling seeds, and either scores by caption or distances with
    the same captions left out.
    """
    if a.row["protocol"]["manifest_sha256"] is None or _paired_by(a.row) != _paired_by(b.row):
        return None
    scores: list[np.ndarray | None] = [read_scores(c.path, c.row).get(metric) for c in (a, b)]
    if scores[0] is not None and scores[1] is not None:
        return paired(*scores)
    entries = [c.row["metrics"][metric] for c in (a, b)]
    # The seed determines which captions are left out together.
    seeds = [(c.row["protocol"].get("settings") or {}).get("seed") for c in (a, b)]
    if seeds[0] == seeds[1] and all("left_out" in entry for entry in entries):
        values = [entry["value"] for entry in entries]
        return paired_distances(*values, *(entry["left_out"] for entry in entries))
    return None


def _paired_by(row: Mapping[str, Any]) -> tuple:
    """What two rows must have in common to be compared image by image."""
    protocol = row["protocol"]
    names = ("manifest_sha256", "num_images", "reference_sha256")
    return (*(protocol[name] for name in names), (protocol["sampling"] or {}).get("seeds"))


def show(ranked: Sequence[Candidate], metric: str, vary: Sequence[str]) -> None:
    """Print the table of a ranking."""
    first = ranked[0].row
    shown = ", ".join(dict.fromkeys(c.row["protocol_hash"] for c in ranked))
    table = Table(title=f"{metric}, {first['protocol']['num_images']} images, protocol {shown}")
    tests = tests_against_best(ranked, metric)
    ones = [lines_of({**c.row, "metrics": {metric: c.row["metrics"][metric]}})[0] for c in ranked]
    heads = ["", "model", *vary, "value", "95 % interval", headings(first).floor or "floor"]
    heads += [headings(first).unbiased] * any(line.unbiased for line in ones)
    for name in heads:
        table.add_column(name, justify="left" if name == "model" else "right")
    tested = [test for test in tests if test]
    if tested:
        table.add_column("difference to the best", justify="right")
        table.add_column("p", justify="right")
    for rank, (candidate, line, test) in enumerate(zip(ranked, ones, tests), 1):
        values = [str(_at(candidate.row["protocol"], name)) for name in vary]
        cells = [str(rank), _model(candidate), *values, line.value, line.interval, line.floor]
        cells += [line.unbiased] * (len(heads) - len(cells))
        if tested:
            cells += [_difference(test) if test else "", f"{test.p:.2g}" if test else ""]
        table.add_row(*cells)
    # Brackets are part of names, as in FD[clip:…].
    Console(markup=False, width=None if sys.stdout.isatty() else 200).print(table)
    if tested:
        kinds = ", ".join(dict.fromkeys(test.test for test in tested))
        print(
            f"p: two-sided, on the same captions and noise, by {kinds}; not corrected for "
            f"{len(tested)} comparison(s). Difference: with a 95 % interval, over captions."
        )
    for candidate in ranked:
        row = {**candidate.row, "metrics": {metric: candidate.row["metrics"][metric]}}
        for text in bias_remarks(row):
            print(f"{_model(candidate)}: {text}")
    if len(tested) < len(ranked) - 1:
        print("Rows without a p have other captions or noise, or nothing to pair them by.")


def _difference(test: Paired) -> str:
    text = fitted(test.difference, test.interval, sign=True)
    return f"{text(test.difference)} [{text(test.interval[0])}, {text(test.interval[1])}]"


def _model(candidate: Candidate) -> str:
    model = candidate.row.get("model")
    if not model:
        return str(candidate.row.get("fake", candidate.path))
    steps = ", ".join(f"{name} {run['step']}{of_weights(run)}" for name, run in model.items())
    return f"{candidate.path.parent} ({steps})"


def _at(protocol: Mapping[str, Any], dotted: str) -> Any:
    value: Any = protocol
    for name in dotted.split("."):
        value = value.get(name, "–") if isinstance(value, Mapping) else "–"
    return value
