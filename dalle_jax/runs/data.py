"""data.json of a run: which data its training read, and how that differs from what is there now.

{"readings": [{"step": 0, "source": "folder:my_pictures", "signature": "0f…", "content": "0f…",
               "items": {"all": 40, "train": 36, "validation": 2}}], "shared": false}

There is one reading, and another for each time that the training went on with other data. Short
hashes of the items that were read last lie in data_items.npz, where there are not too many.
"""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.index import NotScannedError
from dalle_jax.data.item_digests import MAX_ITEMS, describe_change, load_digests, save_digests
from dalle_jax.data.open import is_at_path
from dalle_jax.data.source import Source
from dalle_jax.files import write_atomically

FILE, ITEMS_FILE = "data.json", "data_items.npz"


@dataclass(frozen=True)
class Reading:
    """The data that a training read from a step on.

    Attributes:
        step: of the training when it began or went on.
        source: as the config names it.
        signature: of the names, sizes and captions; "" for a built-in data set, which its name
            determines.
        content: of the same and of all that the stages upstream were trained on; see `content_of`.
        items: numbers by split, and of all splits together.
    """

    step: int
    source: str
    signature: str
    content: str
    items: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DataRecord:
    """What data.json holds.

    Attributes:
        readings: in order.
        shared: whether the points of a sweep share the run by its content, so that its training
            must not go on with any other.
    """

    readings: Sequence[Reading] = ()
    shared: bool = False

    @property
    def content(self) -> str:
        """Of all that the weights were trained on; "" where that is built in, or not recorded."""
        contents = {reading.content: None for reading in self.readings}
        return next(iter(contents), "") if len(contents) < 2 else _digest(list(contents))


def read_record(directory: Path) -> DataRecord | None:
    """The record of a run directory; None where there is none that can be read."""
    try:
        document = json.loads((directory / FILE).read_bytes())
        readings = [Reading(**reading) for reading in document["readings"]]
        return DataRecord(readings, bool(document["shared"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(directory: Path, record: DataRecord) -> None:
    """Write data.json, whole or not at all."""
    document = {"readings": [vars(reading) for reading in record.readings]}
    text = json.dumps({**document, "shared": record.shared}, indent=1) + "\n"
    write_atomically(directory / FILE, lambda file: file.write(text.encode()))


def content_of(signature: str, upstream: Mapping[str, str]) -> str:
    """What distinguishes trainings on other data whose configs are the same.

    Args:
        signature: of a stage's own data, "" for a built-in data set.
        upstream: the contents of the stages that it needs, by name.

    Returns:
        "" where all data is built in, the signature where only a stage's own is not.
    """
    others = {name: content for name, content in sorted(upstream.items()) if content}
    return _digest([signature, others]) if others else signature


def signature_of(source: Source) -> str:
    """A source's content signature; "" for a built-in data set."""
    return getattr(source, "signature", "")


def count_items(source: Source) -> dict[str, int]:
    """The number of usable items in all splits, {"all": N}, where the source's report states it."""
    report = getattr(source, "report", None)
    return {} if report is None else {"all": report.total - report.num_skipped}


def check_moved(sources: Sequence[str], moved_to: str) -> None:
    """Refuse a location that the data of all these `sources` can't have moved to.

    Raises:
        ValueError: the sources differ, or one is a built-in data set.
    """
    if len(set(sources)) > 1:
        raise ValueError(
            f"--data_source={moved_to} is one location, but the stages read {', '.join(sources)}; "
            "name one --stage"
        )
    kind = sources[0].partition(":")[0]
    if not is_at_path(sources[0]):
        raise ValueError(
            f"--data_source={moved_to}: the run reads {sources[0]}, which lies in the folder "
            "config.data.dir"
        )
    if moved_to.partition(":")[0] != kind:
        raise ValueError(
            f"--data_source={moved_to} is not of the kind that the run reads, {sources[0]}; give "
            f"{kind}:PLACE"
        )


def how_changed(
    directory: Path, then: Reading, split: str, now: Source, moved_to: str = ""
) -> str | None:
    """A sentence on how data differs from what a training read, or None where it does not.

    Args:
        directory: of the run.
        then: what its training read last.
        split: that `now` is of.
        now: the data, opened.
        moved_to: where it was opened, if not where the config says.
    """
    if not then.signature or signature_of(now) in ("", then.signature):
        return None
    if moved_to:
        change = f"{moved_to} is not the data that {directory} was trained on"
    else:
        change = f"{then.source} has changed since the training of {directory} read it"
    before = load_digests(directory / ITEMS_FILE, then.signature)
    after = _digests(now)
    if before is not None and after is not None and (what := describe_change(before, after)):
        return f"{change}: {what}."
    items = {split: len(now), **count_items(now)}
    for name in ("all", split):
        if name in then.items and then.items[name] != items.get(name, then.items[name]):
            of = "" if name == "all" else f"{name} "
            return (
                f"{change}: there were {then.items[name]} {of}items, now there are {items[name]}."
            )
    return f"{change}: the number of items is the same, but names, sizes or captions are not."


def is_seen_at_once(source: str) -> bool:
    """Whether a data set can be compared with what it was in a moment, by its files' times."""
    return is_at_path(source) and "://" not in source


def may_have_changed(directory: Path, then: Reading, now: NotScannedError) -> str | None:
    """A sentence on data whose files are not those that were scanned; None if there was no scan."""
    if not now.is_known:
        return None
    return (
        f"{then.source} may have changed since the training of {directory} read it: files were "
        "written since, or another version of dalle_jax or Pillow reads them. Their content is "
        f"compared once `dalle-jax prepare {then.source}` has read it."
    )


def record_reading(
    directory: Path, reading: Reading, data: Source, changed: str | None, moved_to: str = ""
) -> None:
    """Write to data.json that a training reads `data` from now on.

    Args:
        directory: of the run.
        reading: of the data.
        data: a split of it, opened.
        changed: what `how_changed` says of it.
        moved_to: where it was opened, if not where the config says.

    Raises:
        ValueError: it has changed, and must not: in a run that the points of a sweep share, or
            where the data is stated to be the same at another location.
    """
    record = read_record(directory)
    if changed and moved_to:
        raise ValueError(
            f"{changed} Give the --data_source at which the same data is now, or train on this in "
            "another --workdir with --config.data.source"
        )
    if changed and record.shared:
        raise ValueError(
            f"{changed} The points of a sweep share trainings by their data; the same "
            "`dalle-jax sweep` goes on, with a training of its own on the changed data"
        )
    if record is None and reading.step and reading.signature:
        warnings.warn(
            f"{directory} has no signature of the data that it was trained on so far, since an "
            f"earlier version made it; {directory / FILE} has one from step {reading.step} on.",
            stacklevel=3,
        )
    readings = list(record.readings) if record else []
    if readings and readings[-1].signature == reading.signature:
        if readings[-1].items:
            return
        # Written by the sweep, which knows the contents of all that is upstream.
        reading = dataclasses.replace(reading, content=readings[-1].content)
    if (digests := _digests(data)) is not None:
        save_digests(directory / ITEMS_FILE, reading.signature, digests)
    before = [other for other in readings if other.step < reading.step]
    write_record(directory, DataRecord([*before, reading], bool(record and record.shared)))


def _digests(source: Source) -> np.ndarray | None:
    few = count_items(source).get("all", 0) <= MAX_ITEMS
    return source.item_digests() if few and hasattr(source, "item_digests") else None


def _digest(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
