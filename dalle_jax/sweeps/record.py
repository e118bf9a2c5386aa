"""What is written down of each attempt at a job: how it ended, what it used, and with what code."""

import functools
import json
import platform
import socket
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dalle_jax

PACKAGES = ("dalle-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def record_attempt(
    directory: Path, *, code: int, seconds: float, core_seconds: float, peak_bytes: int, log: str
) -> dict[str, Any]:
    """Add a line to `attempts.jsonl` in the directory of a job.

    Args:
        directory: of the job; only who holds its lock may write here.
        code: of the exit; negative for a signal.
        seconds: it took.
        core_seconds: of CPU cores that it used; on a busy machine the fairer cost.
        peak_bytes: of memory, of the largest process.
        log: the name of its file.
    """
    line = {
        "ended": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "exit_code": code,
        "seconds": round(seconds, 2),
        "core_seconds": round(core_seconds, 2),
        "peak_bytes": peak_bytes,
        "log": log,
        "host": socket.gethostname(),
        "git_revision": git_revision(),
        "versions": versions(),
    }
    path = directory / "attempts.jsonl"
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")
    return line


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


@functools.cache
def git_revision() -> str:
    """The commit that the package runs from, with + if files differ from it; "" without git."""
    where = Path(dalle_jax.__file__).parent
    try:
        commit = _git(where, "rev-parse", "HEAD")
        return commit + "+" * bool(_git(where, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return ""


@functools.cache
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
