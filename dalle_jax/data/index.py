"""What the scan of a data set found, in a file, so that loading it again reads no item."""

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalle_jax.data.report import Report
from dalle_jax.files import UNREADABLE_NPZ, write_atomically

VERSION = 2  # of all index files


_OWN_FILES = re.compile(r"data_(report|index)(-\w+)?\.(json|npz)(\.\w+\.partial)?|index-\w+\.npz")


class Index(NamedTuple):
    """The report of a scan, and the arrays that lead to the usable items."""

    report: Report
    arrays: Mapping[str, np.ndarray]


class NotScannedError(Exception):
    """A data set would have to be scanned first, within `without_scan`.

    `is_known` says whether it was scanned before and has changed, or was touched, since.
    """

    def __init__(self, is_known: bool):
        super().__init__("the data set is not as it was scanned last, or was never scanned")
        self.is_known = is_known


_scans = ContextVar("scans", default=True)


@contextmanager
def without_scan() -> Iterator[None]:
    """Inside, a data set whose index is not up to date raises a `NotScannedError`."""
    token = _scans.set(False)
    try:
        yield
    finally:
        _scans.reset(token)


def open_index(
    index_path: Path,
    report_path: Path,
    signature: str,
    is_sound: Callable[[Mapping[str, np.ndarray]], bool],
    scan: Callable[[], Index],
) -> Index:
    """The index at a path if it has this signature and is undamaged, else that of a new scan.

    Args:
        index_path: where it can't be written, the data is scanned each time.
        report_path: where the report is written too, for people.
        signature: of names, sizes and times, and of the options that the scan depends on.
        is_sound: whether arrays can be those of this data; may raise on damaged ones.
        scan: reads every item.

    Raises:
        NotScannedError: a scan is needed, but not allowed: see `without_scan`.
    """
    index = _load(index_path, signature, is_sound)
    if index is None:
        if not _scans.get():
            raise NotScannedError(is_known=report_path.exists())
        index = scan()
        index.report.signature = signature
        index.report.save(report_path)
        _save(index_path, index)
    elif not report_path.exists():
        index.report.save(report_path)
    index.report.path = report_path
    return index


def _save(path: Path, index: Index) -> None:
    head = {"version": np.array(VERSION), "report": text_array(index.report.to_json())}
    try:
        write_atomically(path, lambda file: np.savez(file, **head, **index.arrays))
    except OSError:
        return  # The report beside it warns of a folder that can't be written.


def _load(path: Path, signature: str, is_sound: Callable[..., bool]) -> Index | None:
    try:
        with np.load(path, allow_pickle=False) as saved:
            report = Report.parse(saved["report"].tobytes())
            if report is None or report.signature != signature or int(saved["version"]) != VERSION:
                return None
            index = Index(report, {name: saved[name] for name in saved})
            return index if is_sound(index.arrays) else None
    except (*UNREADABLE_NPZ, MemoryError, AttributeError, IndexError, RecursionError):
        return None


def is_own_file(name: str) -> bool:
    """Whether a file is named as the reports and indices that this package writes beside data."""
    if "data_" not in name and "index-" not in name:  # Much faster than the pattern.
        return False
    return _OWN_FILES.fullmatch(posixpath.basename(name)) is not None


def text_array(text: str) -> np.ndarray:
    """uint8 [B] of ASCII text such as JSON."""
    return np.frombuffer(text.encode("ascii"), np.uint8)


def are_numbers_of(numbers: np.ndarray, count: int) -> bool:
    """Whether int64 [N] numbers ascend strictly within 0 … `count` − 1."""
    if numbers.dtype != np.int64 or numbers.ndim != 1:
        return False
    inside = (numbers >= 0) & (numbers < count)
    return bool(inside.all() and (np.diff(numbers) > 0).all())


def signature_of(parts: Iterable[object]) -> str:
    """A short hash of `parts`, such as paths, sizes and times."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]
