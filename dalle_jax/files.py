"""Files that several processes write: atomic writes, locks, short hashes, damaged arrays."""

import csv
import fcntl
import hashlib
import io
import json
import os
import secrets
import socket
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

# What numpy raises at a `.npz` that is torn, empty, or something else.
UNREADABLE_NPZ = (
    *(ValueError, OSError, KeyError, TypeError, EOFError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)


def cache_folder(name: str) -> Path:
    """Where files of one kind are cached for all runs; `XDG_CACHE_HOME` moves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dalle_jax" / name


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write the file at `path` whole or not at all, so that no reader meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique among threads and among hosts that share the directory, not only among processes.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A CSV file with the columns of all rows, in the order in which they first appear."""
    text = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def short_hash(content: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `content` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Lock:
    """A file that one process has locked; `fileno` may be handed on to a child.

    The system's own lock (flock) is what counts: it goes when the last process that has the file
    open ends, however it ends. A job inherits it, so that a job which outlives its launcher keeps
    other launchers from starting it a second time. The file names host and process for people.
    The file itself stays: were it removed, one process could wait for the old file while another
    holds a new one of the same name.
    """

    def __init__(self, file):
        self._file = file

    @classmethod
    def take(cls, path: Path) -> "Lock | None":
        """The lock, or None if another process has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115 (open for as long as the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            warnings.warn(
                f"{path} can't be locked ({error.strerror}): start no second command on this "
                "workdir, since the file system has no locks",
                stacklevel=2,
            )
        lock = cls(file)
        lock.name_holder(os.getpid())
        return lock

    def name_holder(self, pid: int) -> None:
        """Write into the file which process of this host has the lock; see `holder`."""
        self._file.truncate(0)
        self._file.write(f"{process_name(pid)}\n")
        self._file.flush()

    def fileno(self) -> int:
        """To be handed to the job."""
        return self._file.fileno()

    def release(self) -> None:
        """Give up this process's hold."""
        self._file.close()


def process_name(pid: int) -> str:
    """A process of this host, as `HOST process PID`."""
    return f"{socket.gethostname()} process {pid}"


def holder(path: Path) -> str:
    """The name of the process that took the lock last, which may have ended."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
