"""What a job is: a command, when it is done, and what was recorded of its attempts."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """A command, and how to tell that it is done.

    Attributes:
        key: the name of its directory of logs.
        title: for people.
        command: to be run; run again it goes on where it stopped.
        needs: keys of the jobs that are to be done before.
        directory: of its lock, its attempts and their logs.
        is_done: whether what it makes is there.
        step: how far it has come; an attempt that came further does not count as failed.
        saves: whether it saves and ends at a SIGTERM, and ends unsaved at a second one.
        server: command of a process that does this job and the next of the same server; () if none.
        request: what it is told in the place of the command.
    """

    key: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    directory: Path
    is_done: Callable[[], bool]
    step: Callable[[], int]
    saves: bool = False
    server: tuple[str, ...] = ()
    request: tuple[str, ...] = ()

    @property
    def lock(self) -> Path:
        """Held by whoever runs it."""
        return self.directory / "lock"


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """What was recorded of each attempt that ended, the oldest first; a torn line is none."""
    path, found = directory / "attempts.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
