"""The report on a data set: which items it has, and what of it is not used, by reason."""

import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from dalle_jax.data.walk import first_of
from dalle_jax.files import write_atomically


class ReportWarning(UserWarning):
    """What of a data set is not used."""


@dataclass
class Report:
    """Which items a data set has, and what of it is not used."""

    what: str  #: the data set, for messages
    total: int = 0  #: number of items, bad ones included
    #: Ids of the bad items, by reason; they count against `max_bad_share`.
    skipped: dict[str, list[str]] = field(default_factory=dict)
    #: Names of what counts as no item, by reason: other files, too small images.
    left_out: dict[str, list[str]] = field(default_factory=dict)
    #: Ids of items that are used, by a remark on them.
    noted: dict[str, list[str]] = field(default_factory=dict)
    signature: str = ""  #: of names, sizes and times; no item is read again until it changes
    content: str = ""  #: hash of names, sizes and captions, wherever the data lies
    path: Path | None = field(default=None, compare=False)  #: of the file that it is written to

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
                text += f"; {len(names)} {how}: {reason} ({first_of(names)})"
        for note, items in sorted(self.noted.items()):
            text += f"; {len(items)} {note} ({first_of(items)})"
        return text

    def check(self, max_bad_share: float) -> None:
        """Raise a ValueError if more than `max_bad_share` of all items were skipped, or all."""
        if self.total == 0:
            left_out = f" that are used: {self}" if self.left_out else ""
            raise ValueError(f"{self.what} holds no items{left_out}")
        if self.num_skipped > max_bad_share * self.total or self.num_skipped == self.total:
            raise ValueError(
                f"{self}. This is more than the share allowed (max_bad_share = {max_bad_share:g}); "
                "mend the data or raise the share"
            )

    def check_and_warn(self, what: str, max_bad_share: float) -> None:
        """`check` the report on the data set `what`, and warn of what is not used."""
        self.what = what
        self.check(max_bad_share)
        if self.skipped or self.left_out or self.noted:
            warnings.warn(f"{self}; all are named in {self.path}", ReportWarning, stacklevel=4)

    def save(self, path: Path) -> None:
        """Write the report as JSON, or warn that it can't be written there."""
        try:
            write_atomically(path, lambda file: file.write(self.to_json().encode()))
        except OSError as error:
            warnings.warn(
                f"the report {path} could not be written ({error}); the data is scanned again "
                "next time unless a cache_dir that can be written is given",
                stacklevel=2,
            )

    def to_json(self) -> str:
        """The report as JSON, without the path of its file."""
        parts = {name: value for name, value in vars(self).items() if name != "path"}
        return json.dumps(parts, ensure_ascii=True, indent=1, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> "Report | None":
        """The report saved at `path`, or None if there is no readable one."""
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
