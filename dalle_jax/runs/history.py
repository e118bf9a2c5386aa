"""history.json of a run: what its weights depend on besides its config.

{"phases": [{"first_step": 5500, "settings": {"steps": 8000, "optimizer": {…}, …}}],
 "upstream": {"clip": {"phases": […]}}, "init_from": "0123456789ab step 5500"}

The config is what a training began with. Each time that it went on with other settings a phase is
appended. `upstream` has the histories of the runs that this one was trained on, as they were then,
`init_from` the checkpoint that its weights began as.
A run without any of this has no file. The fingerprint includes the history.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dalle_jax.files import write_atomically

FILE = "history.json"
# Of config.STAGE.train: what a training may go on with other values of.
PHASE_SETTINGS = ("steps", "batch_size", "accumulate", "ema_decay", "optimizer")

History = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """A part of a training.

    Attributes:
        first_step: updates before it; its learning-rate schedule counts from there.
        end: updates after it.
        first_item: items that training read before it.
        settings: config.STAGE.train as it is in this part.
    """

    first_step: int
    end: int
    first_item: int
    settings: Mapping[str, Any]


def read_history(directory: Path) -> History:
    """The history of the run in a directory; {} without one.

    Raises:
        ValueError: there is a file that is none.
    """
    path = directory / FILE
    if not path.exists():
        return {}
    try:
        history = json.loads(path.read_text())
        _ = [(phase["first_step"], phase["settings"]["steps"]) for phase in recorded(history)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the history of a run: {error!r}") from error
    return history


def write_history(directory: Path, history: History) -> None:
    """Write history.json, whole or not at all; an empty history has no file."""
    if not history:
        (directory / FILE).unlink(missing_ok=True)
        return
    text = json.dumps(history, indent=1) + "\n"
    write_atomically(directory / FILE, lambda file: file.write(text.encode()))


def recorded(history: History) -> list[dict[str, Any]]:
    """The phases after the first, as the file has them."""
    return list(history.get("phases", ()))


def has_phases(history: History) -> bool:
    """Whether the run, or one that it was trained on, went on with other settings than it began."""
    return bool(recorded(history)) or any(map(has_phases, history.get("upstream", {}).values()))


def phases_of(train: Mapping[str, Any], history: History) -> list[Phase]:
    """The parts of a training in order, of its config.STAGE.train and its history."""
    phases, first_item = [], 0
    parts = [{"first_step": 0, "settings": {}}, *recorded(history)]
    for part, after in zip(parts, [*parts[1:], None]):
        settings = {**copy.deepcopy(dict(train)), **part["settings"]}
        end = settings["steps"] if after is None else after["first_step"]
        phases.append(Phase(part["first_step"], end, first_item, settings))
        first_item += (end - part["first_step"]) * settings["batch_size"]
    return phases
