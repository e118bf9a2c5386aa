"""Bad items of a data set: skipped, counted, named in a report, an error when they are too many.

The report of a scan is also its cache: it holds a signature of the data, and as long as that is
the same, opening the data again reads the report instead of every image.
"""

import hashlib
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dalle_jax.data.images import decode
from dalle_jax.data.no_image import why_no_image
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.text import doubt_about
from dalle_jax.files import write_atomically

NAMED_IN_TEXT = 3

# What numpy raises at a `.npz` that is torn, empty, or something else.
UNREADABLE_NPZ = (
    *(ValueError, OSError, KeyError, TypeError, EOFError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)


@dataclass
class Report:
    """Which items a data set has, and what of it is not used.

    Attributes:
        what: the data set, for messages.
        total: number of items, bad ones included.
        skipped: ids of the bad items, by reason; they count against `max_bad_share`.
        left_out: names of what counts as no item, by reason: other files, images smaller than
            asked for.
        noted: ids of items that are used although something about them is worth knowing.
        signature: of names, sizes and times; as long as it is the same, no item is read again.
        content: of names, sizes and captions, wherever the data lies and however it is reached.
        path: of the file that it is kept in, which does not hold it.
    """

    what: str
    total: int = 0
    skipped: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)
    signature: str = ""
    content: str = ""
    path: Path | None = field(default=None, compare=False)

    def skip(self, reason: str, item: str) -> None:
        """Note that `item` is bad because of `reason`."""
        self.skipped.setdefault(reason, []).append(item)

    @property
    def num_skipped(self) -> int:
        """Number of bad items."""
        return sum(map(len, self.skipped.values()))

    def __str__(self) -> str:
        text = f"{self.what}: {self.total - self.num_skipped} of {self.total} items used"
        for named, how in ((self.skipped, "skipped"), (self.left_out, "left out")):
            for reason, names in sorted(named.items()):
                text += f"; {len(names)} {how}: {reason} ({_first(names)})"
        for note, items in sorted(self.noted.items()):
            text += f"; {len(items)} {note} ({_first(items)})"
        return text + "."

    def check(self, max_bad_share: float) -> None:
        """Raises a ValueError when more than `max_bad_share` of all items were skipped, or all."""
        if self.total == 0:
            left_out = f" that are used: {self}" if self.left_out else "."
            raise ValueError(f"{self.what} holds no items{left_out}")
        if self.num_skipped > max_bad_share * self.total or self.num_skipped == self.total:
            raise ValueError(
                f"{self} This is more than the share allowed (max_bad_share = {max_bad_share:g}); "
                "mend the data or raise the share."
            )

    def save(self, path: Path) -> None:
        """Writes the report as JSON; a warning says so if the place cannot be written."""
        try:
            write_atomically(path, lambda file: file.write(self.to_json().encode()))
        except OSError as error:
            warnings.warn(
                f"The report {path} could not be written ({error}); the data is scanned again "
                "next time unless a cache_dir that can be written is given.",
                stacklevel=2,
            )

    def to_json(self) -> str:
        """The report as JSON, without the place that it is kept in."""
        kept = {name: value for name, value in vars(self).items() if name != "path"}
        return json.dumps(kept, ensure_ascii=True, indent=1, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> "Report | None":
        """The report saved at `path`, or None where there is none that can be read."""
        try:
            return cls.parse(path.read_bytes())
        except OSError:
            return None

    @classmethod
    def parse(cls, encoded: bytes) -> "Report | None":
        """The report that `encoded` holds as JSON, or None."""
        try:
            report = cls(**json.loads(encoded))
            lists = (report.skipped, report.left_out, report.noted)
            items = [item for named in lists for part in named.values() for item in [*part]]
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        texts = (report.content, report.signature, *items)
        sound = isinstance(report.total, int) and all(isinstance(text, str) for text in texts)
        return report if sound else None


class NotScannedError(Exception):
    """A data set would have to be scanned first, within `without_scan`.

    Attributes:
        is_known: whether it was scanned before and has changed, or was touched, since.
        before, now: the numbers of its items then and now; None where not known.
    """

    def __init__(self, is_known: bool, before: int | None = None, now: int | None = None):
        super().__init__("the data set is not as it was scanned last, or was never scanned")
        self.is_known, self.before, self.now = is_known, before, now


_scans = ContextVar("scans", default=True)


@contextmanager
def without_scan() -> Iterator[None]:
    """Inside, a data set whose report or index is not up to date raises a `NotScannedError`."""
    token = _scans.set(False)
    try:
        yield
    finally:
        _scans.reset(token)


def about_to_scan(is_known: bool, before: int | None = None, now: int | None = None) -> None:
    """Readers call this before they read a whole data set; see `NotScannedError`."""
    if not _scans.get():
        raise NotScannedError(is_known, before, now)


class Finding(NamedTuple):
    """What the inspection of an item found.

    Attributes:
        bad: why the item can't be used, or None.
        left_out: why it counts as no item, or None.
        note: what is worth knowing of an item that is used, or None.
        content: what of it enters the signature of the data's content: key, size, captions.
    """

    bad: str | None = None
    left_out: str | None = None
    note: str | None = None
    content: object = None

    @property
    def is_used(self) -> bool:
        """Whether the item is neither bad nor left out."""
        return self.bad is None and self.left_out is None


def scan(
    what: str,
    ids: Sequence[str],
    inspect: Callable[[int], Finding | str | None],
    *,
    signature: str,
    report_path: Path,
    max_bad_share: float,
    left_out: Mapping[str, Sequence[str]] | None = None,
    num_threads: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, Report]:
    """Indices (int64) of the items to use, and the report.

    Args:
        what: the data set, for messages.
        ids: of all items, each once.
        inspect: reads item i and says what it found, or only why it is bad; asked in threads, once
            for each item while `signature` is the same.
        signature: of names, sizes and times, and of the options that `inspect` depends on.
        report_path: where the report is kept.
        max_bad_share: of the items that may be bad.
        left_out: names of other entries that are no items, by reason.
        num_threads: that inspect items; None for one per core.
        check: called after the items were inspected; what it raises leaves no report.

    Raises:
        ValueError: more than `max_bad_share` of the items, or all of them, are bad.
    """
    others = {reason: list(names) for reason, names in (left_out or {}).items() if names}
    report = Report.load(report_path)
    if (
        report is None
        or report.signature != signature
        or _num_inspected(report, others) != len(ids)
    ):
        before = None if report is None else _num_inspected(report, others)
        about_to_scan(report is not None, before, len(ids))
        report, _ = inspect_all(what, ids, inspect, left_out=others, num_threads=num_threads)
        check()
        report.signature = signature
        report.save(report_path)
    report.what, report.left_out = what, {**report.left_out, **others}
    report.path = report_path
    report.check(max_bad_share)
    if report.skipped or report.left_out or report.noted:
        warnings.warn(f"{report} All are named in {report_path}.", stacklevel=3)
    unused = {item for items in report.skipped.values() for item in items}
    unused |= {item for names in _inspected(report, others) for item in names}
    return np.flatnonzero([item not in unused for item in ids]), report


def inspect_all(
    what: str,
    ids: Sequence[str],
    inspect: Callable[[int], Finding | str | None],
    *,
    left_out: Mapping[str, Sequence[str]] | None = None,
    num_threads: int | None = None,
) -> tuple[Report, list[int]]:
    """The report of a scan without its signature, and the indices of the items to use.

    The arguments are those of `scan`, which keeps what this finds.
    """
    others = {reason: list(names) for reason, names in (left_out or {}).items() if names}
    report = Report(what, len(ids), left_out=others)
    good: list[int] = []
    content = 0
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as threads:
        for i, found in enumerate(threads.map(inspect, range(len(ids)))):
            if not isinstance(found, Finding):
                found = Finding(found)
            if found.bad is not None:
                report.skip(found.bad, ids[i])
            elif found.left_out is not None:
                report.left_out.setdefault(found.left_out, []).append(ids[i])
                report.total -= 1
            else:
                good.append(i)
                if found.note is not None:
                    report.noted.setdefault(found.note, []).append(ids[i])
            # A sum, so that the order of the items does not matter.
            content += int(signature_of([found.content]), 16)
    report.content = f"{content % 2**128:032x}"
    return report, good


def _inspected(report: Report, others: Mapping[str, object]) -> list[list[str]]:
    """The ids of items that were left out; names of other entries could be spelled like an id."""
    return [names for reason, names in report.left_out.items() if reason not in others]


def _num_inspected(report: Report, others: Mapping[str, object]) -> int:
    return report.total + sum(map(len, _inspected(report, others)))


def inspect_item(
    encoded: bytes | None,
    captions: Sequence[str],
    options: ReadingOptions,
    content: object = None,
    look: Callable[[np.ndarray], str | None] | None = None,
) -> Finding:
    """What there is to say of an item: an encoded image (None where there is none), its captions.

    Args:
        encoded: the image.
        captions: of the image; blank ones are none.
        options: min_side and max_aspect_ratio of the images.
        content: what of the item enters the signature of the data's content.
        look: says of the decoded image what is worth knowing, or None.
    """
    if not captions:
        return Finding("image without caption", content=content)
    if not any(caption.strip() for caption in captions):
        return Finding("empty caption", content=content)
    if encoded is None:
        return Finding("no image", content=content)
    try:
        image = decode(encoded)
    except ValueError:
        return Finding(why_no_image(encoded), content=content)
    short, long = sorted(image.shape[:2])
    if short < options.min_side:
        return Finding(left_out=f"side below {options.min_side} pixels", content=content)
    if options.max_aspect_ratio and long > options.max_aspect_ratio * short:
        ratio = f"aspect ratio above {options.max_aspect_ratio:g}"
        return Finding(left_out=ratio, content=content)
    note = doubt_about(captions) or (look(image) if look else None)
    return Finding(note=note, content=content)


def signature_of(parts: Iterable[object]) -> str:
    """A short hash of `parts` (paths, sizes, times) that changes when any of them does."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


def _first(names: Sequence[str]) -> str:
    """The first of some names, each as it can be printed."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:NAMED_IN_TEXT]]
    return ", ".join(shown) + (", …" if len(names) > NAMED_IN_TEXT else "")
