"""What falls due at a step beside training, and a note of what of it is still to be made.

<run>/due.json   {"step": 1000, "left": ["preview", "evaluation"]}

The note is written before the checkpoint of its step, grows shorter with each thing that is made
and goes with the last. So a run that goes on from that checkpoint knows what it has to make first;
without the checkpoint the step comes again, and with it all that is due.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import jax

from dalle_jax.train.distributed import as_first

KINDS = ("validation", "preview", "evaluation")  # in the order in which they are made
FILE = "due.json"


def left_at(run_dir: str | Path, step: int) -> list[str]:
    """Those of `KINDS` that were due at a step of which there is a checkpoint, and are not made.

    Of several processes all get what the first one reads.
    """
    there = noted(run_dir, step) if jax.process_index() == 0 else ()
    return [kind for kind in KINDS if as_first(kind in there)]


def note(run_dir: str | Path, step: int, left: Sequence[str]) -> None:
    """Write down what is left to be made at a step; nothing leaves no note."""
    if jax.process_index() > 0:
        return
    path = Path(run_dir) / FILE
    if not left:
        path.unlink(missing_ok=True)
        return
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps({"step": step, "left": list(left)}) + "\n")
    temporary.replace(path)


def noted(run_dir: str | Path, step: int) -> list[str]:
    """What the note of this step says; none, or one that can't be read, says nothing."""
    try:
        document = json.loads((Path(run_dir) / FILE).read_text())
        return list(document["left"]) if document["step"] == step else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
