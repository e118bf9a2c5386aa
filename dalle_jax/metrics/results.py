"""Files of results: rows, and the scores of single captions whose means the rows hold.

results.jsonl      one row per line: protocol, protocol_hash, model, metrics, floor, …
scores/NAME.npz    arrays [captions, seeds] by metric; the row has their path under "scores"
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ, write_atomically
from dalle_jax.metrics.shards import exclusive

Row = Mapping[str, Any]


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read the rows of a results.jsonl; none if there is no such file.

    Raises:
        ValueError: a line is not a row.
    """
    path = Path(path)
    rows = []
    # Text that is not UTF-8 is reported as a line that is not JSON.
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            _check_row(row)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}, is not a results row: {error}") from error
        rows.append(row)
    return rows


def _check_row(row: Any) -> None:
    """Check the form of a results row.

    Raises:
        ValueError: it does not have that form.
    """
    if not isinstance(row, Mapping):
        raise ValueError("it is not a JSON object")
    if not {"protocol", "protocol_hash", "metrics"} <= row.keys():
        raise ValueError("it has no protocol or no metrics")
    if not isinstance(row["protocol"], Mapping) or not isinstance(row["protocol_hash"], str):
        raise ValueError("its protocol is not a JSON object, or its protocol_hash is not a string")
    metrics = row["metrics"]
    if not isinstance(metrics, Mapping) or not all(
        isinstance(metric, Mapping) for metric in metrics.values()
    ):
        raise ValueError('its metrics do not have the form {"fid": {"value": 12.3}}')


def find_row(rows: Sequence[Row], protocol_hash: str, model: Any) -> Row | None:
    """The newest row of a protocol and a model, or None."""
    matches = [r for r in rows if r["protocol_hash"] == protocol_hash and r.get("model") == model]
    return matches[-1] if matches else None


def append_row(path: str | Path, row: Row, scores: Mapping[str, np.ndarray] | None = None) -> Row:
    """Append a row, with its scores by caption if given, and return the row as written.

    The file is replaced atomically, so that a process that dies does not leave a partial line.
    """
    path = Path(path)
    row = dict(row)
    if scores:
        identity = json.dumps([row["protocol_hash"], row.get("model")], sort_keys=True)
        name = f"scores/{hashlib.sha256(identity.encode()).hexdigest()[:12]}.npz"
        write_atomically(path.parent / name, lambda file: np.savez_compressed(file, **scores))
        row["scores"] = name
    row = json.loads(json.dumps(row))
    with exclusive(path.with_name(f".{path.name}.lock")):
        before = path.read_text() if path.exists() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        text = before + json.dumps(row) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
    return row


def read_scores(path: str | Path, row: Row) -> dict[str, np.ndarray]:
    """Read the scores by caption of a row of the file `path`: [captions, seeds] by metric.

    Raises:
        FileNotFoundError: the file of scores does not exist.
        ValueError: it can't be read.
    """
    if "scores" not in row:
        return {}
    file = Path(path).parent / row["scores"]
    if not file.is_file():
        raise FileNotFoundError(f"{file}, the scores of a row of {path}, does not exist")
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except UNREADABLE_NPZ as error:
        raise ValueError(
            f"{file}, the scores of a row of {path}, can't be read: {error}"
        ) from error
