"""Events of a step that are not made yet, as a file beside its checkpoint.

<run>/pending.json   {"step": 1000, "events": ["preview", "evaluation"]}

The file is written before the checkpoint of its step, grows shorter with each event that is made
and goes with the last. So a run that continues from that checkpoint knows what to make first;
without the checkpoint the step is trained again, and all its events are made again.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import jax

from dalle_jax.files import write_atomically
from dalle_jax.training.distributed import as_first

EVENTS = ("validation", "preview", "evaluation")  # in the order in which they are made
FILE = "pending.json"


def read(run_dir: str | Path, step: int) -> list[str]:
    """The events pending at a step; no file, or one that can't be read, has none."""
    try:
        document = json.loads((Path(run_dir) / FILE).read_text())
        return list(document["events"]) if document["step"] == step else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def read_as_first(run_dir: str | Path, step: int) -> list[str]:
    """As `read`, for several processes: all get those of `EVENTS` that the first one reads."""
    there = read(run_dir, step) if jax.process_index() == 0 else ()
    return [event for event in EVENTS if as_first(event in there)]


def write(run_dir: str | Path, step: int, events: Sequence[str]) -> None:
    """Record the events pending at a step; without any there is no file."""
    if jax.process_index() > 0:
        return
    path = Path(run_dir) / FILE
    if not events:
        path.unlink(missing_ok=True)
        return
    text = json.dumps({"step": step, "events": list(events)}) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
