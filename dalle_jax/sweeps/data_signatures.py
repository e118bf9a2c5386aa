"""The content signatures of the data that the trainings of a sweep read."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dalle_jax.data.index import NotScannedError, without_scan
from dalle_jax.runs import Run
from dalle_jax.runs.data import read_record, signature_of
from dalle_jax.runs.fingerprint import fingerprint
from dalle_jax.stages import data_of


def data_signatures(workdir: Path, *, scan: bool = True) -> Callable[[str, Mapping[str, Any]], str]:
    """A function of a stage and a config: the signature of the stage's data, "" if it is built in.

    Each data set is loaded once. If it is missing, or would have to be scanned although `scan` is
    false, the signature is the one that all runs of the stage in the workdir were trained with,
    else "".
    """
    known: dict[str, str] = {}

    def signature(stage: str, config: Mapping[str, Any]) -> str:
        data = data_of(stage, config)
        if ":" not in data["source"]:
            return ""
        name = json.dumps(data, sort_keys=True, default=str)
        if name not in known:
            try:
                with nullcontext() if scan else without_scan():
                    known[name] = signature_of(Run(workdir, stage, config).open_source("train"))
            except (FileNotFoundError, NotScannedError):
                known[name] = _recorded(workdir, stage, config)
        return known[name]

    return signature


def _recorded(workdir: Path, stage: str, config: Mapping[str, Any]) -> str:
    directories = workdir.glob(f"runs/{stage}-{fingerprint(stage, config)}-*")
    records = filter(None, map(read_record, directories))
    found = {reading.signature for record in records for reading in record.readings}
    return found.pop() if len(found) == 1 else ""
