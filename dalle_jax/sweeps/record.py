"""What is written down of each attempt at a job: how it ended, what it used, where, by what code.

Where and by what code is looked at when an attempt begins: a job is a process of its own, and the
checkout that it started from may be another commit by the time it ends.
"""

import json
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import dalle_jax

PACKAGES = ("dalle-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Used(NamedTuple):
    """What an attempt took.

    Attributes:
        seconds: by the clock.
        core_seconds: of CPU cores that it used; on a busy machine the fairer cost.
        peak_bytes: of memory, of the largest process.
    """

    seconds: float
    core_seconds: float
    peak_bytes: int


def origin_now(machine: str) -> dict[str, Any]:
    """Where and of which code a process computes that is started now.

    Args:
        machine: what it computes on, see `sweeps/machine.py`.
    """
    return {
        "host": socket.gethostname(),
        "machine": machine,
        "git_revision": git_revision(),
        "versions": versions(),
    }


def ended_now(used: Used, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of any work that has ended: when, what it took, and its origin."""
    return {
        "ended": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "seconds": round(used.seconds, 2),
        "core_seconds": round(used.core_seconds, 2),
        "peak_bytes": used.peak_bytes,
        **origin,
    }


def record_attempt(
    directory: Path, *, code: int, used: Used, log: str, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Add a line to `attempts.jsonl` in the directory of a job.

    Args:
        directory: of the job; only who holds its lock may write here.
        code: of the exit; negative for a signal.
        used: what it took.
        log: the name of its file.
        origin: see `origin_now`, of the moment at which it began.
    """
    line = {"exit_code": code, "log": log, **ended_now(used, origin)}
    path = directory / "attempts.jsonl"
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")
    return line


def made_by(ended: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All hosts, machines and revisions, the oldest first, and the last versions.

    Lines of earlier versions do not tell all of these.
    """
    ordered = sorted(ended, key=lambda line: datetime.fromisoformat(line["ended"]))
    made: dict[str, Any] = {
        name: list(dict.fromkeys(line[name] for line in ordered if line.get(name)))
        for name in ("host", "machine", "git_revision")
    }
    told = [line["versions"] for line in ordered if line.get("versions")]
    return {**made, "versions": told[-1] if told else {}}


def time_covered(attempts: Iterable[Mapping[str, Any]]) -> float:
    """Seconds by the clock in which at least one of the attempts, lines of this file, ran."""
    spans = []
    for attempt in attempts:
        ended = datetime.fromisoformat(attempt["ended"]).timestamp()
        spans.append((ended - attempt["seconds"], ended))
    covered, until = 0.0, float("-inf")
    for began, ended in sorted(spans):
        covered += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return covered


def git_revision() -> str:
    """The commit that the package lies at now, with + if files differ from it; "" without git.

    What was made, experiments/results, is no code.
    """
    where = Path(dalle_jax.__file__).parent
    try:
        commit = _git(where, "rev-parse", "HEAD")
        code = (":(top)", ":(top,exclude)experiments/results")
        changed = _git(where, "status", "--porcelain", "--untracked-files=no", "--", *code)
        return commit + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return ""


def versions() -> dict[str, str]:
    """Of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(where: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(where), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()
