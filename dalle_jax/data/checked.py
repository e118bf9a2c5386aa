"""Bad items of a data set: skipped, counted, named in a report, an error when they are too many.

The report of a scan is also its cache: it holds a signature of the data, and as long as that is
the same, opening the data again reads the report instead of every image.
"""

import hashlib
import json
import os
import secrets
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dalle_jax.data.images import decode

NAMED_IN_TEXT = 3

# What numpy raises at a `.npz` that is torn, empty, or something else.
UNREADABLE_NPZ = (
    *(ValueError, OSError, KeyError, TypeError, EOFError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)


@dataclass
class Report:
    """How many items a data set has and which of them were skipped, by reason."""

    what: str
    total: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    signature: str = ""

    def skip(self, reason: str, item: str) -> None:
        """Notes that `item` is left out because of `reason`."""
        self.skipped.setdefault(reason, []).append(item)

    @property
    def num_skipped(self) -> int:
        """Number of items left out."""
        return sum(map(len, self.skipped.values()))

    def __str__(self) -> str:
        text = f"{self.what}: {self.total - self.num_skipped} of {self.total} items used"
        for reason, items in sorted(self.skipped.items()):
            named = ", ".join(items[:NAMED_IN_TEXT]) + (", …" if items[NAMED_IN_TEXT:] else "")
            text += f"; {len(items)} skipped: {reason} ({named})"
        return text + "."

    def check(self, max_bad_share: float) -> None:
        """Raises a ValueError when more than `max_bad_share` of all items were skipped, or all."""
        if self.total == 0:
            raise ValueError(f"{self.what} holds no items.")
        if self.num_skipped > max_bad_share * self.total or self.num_skipped == self.total:
            raise ValueError(
                f"{self} This is more than the share allowed (max_bad_share = {max_bad_share:g}); "
                "mend the data or raise the share."
            )

    def save(self, path: Path) -> None:
        """Writes the report as JSON; a warning says so if the place cannot be written."""
        try:
            write_atomically(path, lambda file: file.write(self._json().encode()))
        except OSError as error:
            warnings.warn(
                f"The report {path} could not be written ({error}); the data is scanned again "
                "next time unless a cache_dir that can be written is given.",
                stacklevel=2,
            )

    def _json(self) -> str:
        return json.dumps(vars(self), ensure_ascii=True, indent=1, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> "Report | None":
        """The report saved at `path`, or None where there is none that can be read."""
        try:
            report = cls(**json.loads(path.read_bytes()))
            items = [item for named in report.skipped.values() for item in [*named]]
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None
        return report if all(isinstance(item, str) for item in items) else None


def scan(
    what: str,
    ids: Sequence[str],
    problem: Callable[[int], str | None],
    *,
    signature: str,
    report_path: Path,
    max_bad_share: float,
    num_threads: int | None = None,
) -> tuple[np.ndarray, Report]:
    """Indices (int64) of the items without a problem, and the report.

    `problem(i)` says why item i cannot be used, or None; it is asked in threads, once for each
    item as long as `signature` stays the same.

    Raises:
        ValueError: more than `max_bad_share` of the items, or all of them, are bad.
    """
    report = Report.load(report_path)
    if report is None or report.signature != signature or report.total != len(ids):
        report = Report(what, len(ids), signature=signature)
        with ThreadPoolExecutor(num_threads or os.cpu_count()) as threads:
            for item, reason in zip(ids, threads.map(problem, range(len(ids)))):
                if reason is not None:
                    report.skip(reason, item)
        report.save(report_path)
    report.what = what
    report.check(max_bad_share)
    if report.num_skipped:
        warnings.warn(f"{report} All are named in {report_path}.", stacklevel=3)
    bad = {item for items in report.skipped.values() for item in items}
    good = np.flatnonzero([item not in bad for item in ids])
    return good, report


def item_problem(encoded: bytes | None, captions: Sequence[str]) -> str | None:
    """Why an item of an encoded image and its captions cannot be used, or None."""
    if not captions:
        return "image without caption"
    if not any(caption.strip() for caption in captions):
        return "empty caption"
    if encoded is None:
        return "no image"
    try:
        decode(encoded)
    except ValueError:
        return "unreadable image"
    return None


def signature_of(parts: Iterable[object]) -> str:
    """A short hash of `parts` (paths, sizes, times) that changes when any of them does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


def write_atomically(path: Path, write: Callable) -> None:
    """Writes the file at `path` whole or not at all, so that no reader meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Unique among threads and among hosts that share the directory, not only among processes.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
