"""The record of each attempt at a job: where and by which code it ran, its cost and its end.

attempts.jsonl of a job's directory has a line when an attempt begins, with host, machine, commit
and versions, since the checkout may be another commit by its end; and a line when it ends. An
attempt without the second goes on, or was killed together with its launcher.
"""

import json
import platform
import resource
import socket
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import dalle_jax

PACKAGES = ("dalle-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Used(NamedTuple):
    """What an attempt cost.

    Attributes:
        seconds: by the clock.
        core_seconds: of CPU cores; on a busy machine the fairer cost.
        peak_bytes: of memory, of the largest process.
    """

    seconds: float
    core_seconds: float
    peak_bytes: int


def used_by(usage: resource.struct_rusage, seconds: float) -> Used:
    """The cost of a process, as the system counts it."""
    core_seconds = usage.ru_utime + usage.ru_stime
    return Used(seconds, core_seconds, 1024 * usage.ru_maxrss)  # Linux counts in KiB


def used_by_this_process() -> Used:
    """The cost of this process since it began; its seconds by the clock are not known."""
    return used_by(resource.getrusage(resource.RUSAGE_SELF), seconds=0.0)


def origin_now(machine: str) -> dict[str, Any]:
    """Where and by which code a process computes that is started now, on a machine (its name)."""
    return {
        "host": socket.gethostname(),
        "machine": machine,
        "git_revision": git_revision(),
        "versions": versions(),
    }


def ended_now(used: Used, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The record of any work that has ended: when, what it cost, and its origin."""
    return {
        "ended": _now(),
        "seconds": round(used.seconds, 2),
        "core_seconds": round(used.core_seconds, 2),
        "peak_bytes": used.peak_bytes,
        **origin,
    }


def begin_attempt(directory: Path, origin: Mapping[str, Any]) -> Path:
    """Record that an attempt begins; returns the path of its log.

    Only the process that holds the job's lock may write into its directory.
    """
    logs = list(directory.glob("attempt_*.log"))
    number = 1 + max(len(logs), len(read_attempts(directory)))
    log = directory / f"attempt_{number}.log"
    log.touch()
    _append(directory, {"log": log.name, "began": _now(), **origin})
    return log


def end_attempt(log: Path, code: int, used: Used) -> None:
    """Record that an attempt has ended, by its log; `code` is negative for a signal."""
    _append(log.parent, {"log": log.name, "exit_code": code, **ended_now(used, {})})


def read_attempts(directory: Path) -> list[dict[str, Any]]:
    """All attempts at a job, the oldest first; torn lines are left out.

    Where the end of an attempt is not recorded, its exit code is None, its time that until the last
    line of its log, and its core seconds and memory count 0.
    """
    path = directory / "attempts.jsonl"
    attempts: dict[str, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text().splitlines() if path.exists() else ()):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        attempts.setdefault(line.get("log", str(number)), {}).update(line)
    for name, attempt in attempts.items():
        if "ended" not in attempt and "began" in attempt:
            began = datetime.fromisoformat(attempt["began"])
            log = directory / name
            written = log.stat().st_mtime if log.exists() else 0.0
            seconds = max(0.0, written - began.timestamp())
            ended = {"ended": (began + timedelta(seconds=seconds)).isoformat()}
            unknown = {"exit_code": None, "core_seconds": 0.0, "peak_bytes": 0}
            attempt |= {**ended, "seconds": round(seconds, 2), **unknown}
    return list(attempts.values())


def _append(directory: Path, line: Mapping[str, Any]) -> None:
    path = directory / "attempts.jsonl"
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * torn + json.dumps(line) + "\n")


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def made_by(ended: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """All hosts, machines and revisions, the oldest first, and the last versions.

    Attempts of earlier versions lack some of these.
    """
    ordered = sorted(ended, key=lambda line: datetime.fromisoformat(line["ended"]))
    made: dict[str, Any] = {
        name: list(dict.fromkeys(line[name] for line in ordered if line.get(name)))
        for name in ("host", "machine", "git_revision")
    }
    known = [line["versions"] for line in ordered if line.get("versions")]
    return {**made, "versions": known[-1] if known else {}}


def time_covered(attempts: Iterable[Mapping[str, Any]]) -> float:
    """Seconds by the clock in which at least one of the attempts ran."""
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

    Files of experiments/results are results and do not count.
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
