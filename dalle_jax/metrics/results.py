"""Rows of results in a file, and beside it the scores of single captions that they are means of.

results.jsonl      one row a line: protocol, protocol_hash, model, metrics, floor, …
scores/NAME.npz    arrays [captions, seeds] by metric; the row holds their path under "scores"
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ, write_atomically
from dalle_jax.metrics.shards import alone

Row = Mapping[str, Any]


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a results.jsonl; none if there is no such file.

    Raises:
        ValueError: a line is no row.
    """
    path = Path(path)
    rows = []
    # What is no UTF-8 is no JSON either, and is told with its line.
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            _check_row(row)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, is no row of results: {error}") from error
        rows.append(row)
    return rows


def _check_row(row: Any) -> None:
    """Refuse what is not of the form of a row.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(row, Mapping):
        raise ValueError("it is no JSON object")
    if not {"protocol", "protocol_hash", "metrics"} <= row.keys():
        raise ValueError("it has no protocol or no metrics")
    if not isinstance(row["protocol"], Mapping) or not isinstance(row["protocol_hash"], str):
        raise ValueError("its protocol is no JSON object, or its protocol_hash no text")
    metrics = row["metrics"]
    if not isinstance(metrics, Mapping) or not all(
        isinstance(metric, Mapping) for metric in metrics.values()
    ):
        raise ValueError('its metrics are not of the form {"fid": {"value": 12.3}}')


def find_row(rows: Sequence[Row], protocol_hash: str, model: Any) -> Row | None:
    """The newest row of a protocol and a model, if there is one."""
    found = [r for r in rows if r["protocol_hash"] == protocol_hash and r.get("model") == model]
    return found[-1] if found else None


def append_row(path: str | Path, row: Row, scores: Mapping[str, np.ndarray] | None = None) -> Row:
    """Add a row, and its scores by caption if there are any; returns the row as it was written.

    The file is replaced whole, so that a process that dies leaves no half line.
    """
    path = Path(path)
    row = dict(row)
    if scores:
        identity = json.dumps([row["protocol_hash"], row.get("model")], sort_keys=True)
        name = f"scores/{hashlib.sha256(identity.encode()).hexdigest()[:12]}.npz"
        write_atomically(path.parent / name, lambda file: np.savez_compressed(file, **scores))
        row["scores"] = name
    row = json.loads(json.dumps(row))
    with alone(path.with_name(f".{path.name}.lock")):
        before = path.read_text() if path.exists() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        text = before + json.dumps(row) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
    return row


def read_scores(path: str | Path, row: Row) -> dict[str, np.ndarray]:
    """The scores by caption of a row of the file `path`: [captions, seeds] by metric.

    Raises:
        FileNotFoundError: the file of scores is gone.
        ValueError: it can't be read.
    """
    if "scores" not in row:
        return {}
    file = Path(path).parent / row["scores"]
    if not file.is_file():
        raise FileNotFoundError(f"{file}, the scores of a row of {path}, is gone")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except UNREADABLE_NPZ as error:
        raise ValueError(
            f"{file}, the scores of a row of {path}, can't be read: {error}"
        ) from error
