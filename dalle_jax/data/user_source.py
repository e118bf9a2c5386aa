"""What the sources of user data have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dalle_jax.data.files import cache_of, describe_spec, find_files, labels_of, stamp_of
from dalle_jax.data.images import decode
from dalle_jax.data.index import Index, open_index, signature_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.report import Report
from dalle_jax.data.splits import (
    SPLITS,
    check_split,
    describe_own_splits,
    mask_of_split,
    split_numbers,
    splits_there,
    warn_of_named_splits,
)


@dataclass(frozen=True)
class Listing:
    """All items of a data set, in an order that depends on the data only."""

    ids: Sequence[str]  # of the N items that were scanned
    rows: np.ndarray  # [N, …], where each of them lies
    good: np.ndarray  # int64 [G], the numbers of the usable ones
    positions: np.ndarray  # float64 [G] of these, see `splits.split_positions`
    own: np.ndarray | None = None  # uint8 [G], the data's own splits, see `splits.split_numbers`
    own_splits: Sequence[str] = ()  # their names


class UserSource:
    """A split of a user's data set: the items that a scan found usable, read when asked for.

    A reader defines the methods that raise a NotImplementedError here, as far as it needs them.

    Args:
        what: the data set, for messages.
        split: of `SPLITS`, or all.
        options: how it is read.
        cache: paths of the index and the report.
        signature: a hash that changes whenever the data set has to be scanned again.
        hashed: what decides on the split of an item, for messages.

    Raises:
        ValueError: more than `max_bad_share` of the items are bad, or there is no such split.
    """

    report: Report  # on all splits: what is used, bad and left out
    splits: Sequence[str] = SPLITS  # that can be loaded, the data's own and those by hash

    def __init__(
        self,
        what: str,
        split: str,
        options: ReadingOptions,
        cache: tuple[Path, Path],
        signature: str,
        hashed: str = "each item's name",
    ):
        self._what, self._options = what, options
        self.report, arrays = open_index(*cache, signature, self._is_sound, self._scan)
        listing = self._listing(arrays)
        own, own_splits = listing.own, listing.own_splits
        try:
            what += describe_own_splits(own_splits, hashed)
            self.report.check_and_warn(what, options.max_bad_share)
        except ValueError as error:
            raise ValueError(f"{error}{self._advice()}") from None
        if own is not None:
            self.splits = splits_there(own, own_splits)
        if split not in ("all", *self.splits):
            raise ValueError(
                f"{self.report.what} has no {split} split; it has {', '.join(own_splits)}"
            )
        numbers = split_numbers(listing.positions, own=own, own_splits=own_splits, **options.shares)
        used = listing.good[mask_of_split(numbers, split)]
        self._ids: list[str] = [listing.ids[i] for i in used.tolist()]
        self._rows = listing.rows[used]
        is_refused = np.ones(len(listing.rows), bool)
        is_refused[listing.good] = False
        refused = np.flatnonzero(is_refused).tolist()
        self._refused = {listing.ids[i]: listing.rows[i] for i in refused}

    def _advice(self) -> str:
        """What to do about too many bad items, for the end of the error."""
        return ""

    @property
    def signature(self) -> str:
        """A hash of the keys, sizes and captions of all splits, wherever the data lies."""
        return self.report.content

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item_id = self._ids[index]  # Raises IndexError at the end, as iteration needs.
        try:
            encoded, captions = self._read(index)
            image, caption = decode(encoded or b""), captions[0]
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{self.location(index)}, readable when it was scanned, is not: {error}"
            ) from error
        return {"image": image, "caption": caption, "captions": tuple(captions), "id": item_id}

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item that was refused; None where it has none."""
        row = self._refused.get(item_id)
        try:
            return None if row is None else self._parts(row)[0]
        except (OSError, ValueError):
            return None

    def _read(self, index: int) -> tuple[bytes | None, Sequence[str]]:
        """The encoded image and the captions of an item."""
        encoded, texts = self._parts(self._rows[index])
        return encoded, self._captions(texts)

    def _scan(self) -> Index:
        """Read every item once."""
        raise NotImplementedError

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether the arrays of an index can be those of this data."""
        raise NotImplementedError

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        """The items, by the arrays of the index."""
        raise NotImplementedError

    def _parts(self, row: np.ndarray) -> tuple[bytes | None, Any]:
        """The encoded image at a row or None, and what holds its captions.

        A ValueError if they can't be read, an OSError if the connection or the disk fails.
        """
        raise NotImplementedError

    def _captions(self, texts: Any) -> list[str]:
        """The captions; [""] where all are empty, [] where there are none."""
        raise NotImplementedError

    def location(self, index: int) -> str:
        """Where an item lies, for messages."""
        raise NotImplementedError

    def stamp(self) -> str:
        """A hash that changes as soon as an item may have changed."""
        raise NotImplementedError


class FileSource(UserSource):
    """A split of a data set in files that each hold many items.

    `files` is what `find_files` takes: names, globs, braces, a folder, URLs, a list of these, or
    several with `::` between them. The index and the report lie beside the first file (of URLs, in
    the user's cache folder) or in `cache_dir`. `options` are those of `ReadingOptions`.

    Raises:
        FileNotFoundError: there are no such files.
        OSError: a file can't be read.
    """

    kind: ClassVar[str]
    suffix: ClassVar[str]
    hashed: ClassVar[str]

    def __init__(
        self, files: str | Path | Sequence[str | Path], split: str = "train", **options: Any
    ):
        given = ReadingOptions(**options)
        check_split(split)
        self._files = find_files(files, self.suffix)
        self._labels = labels_of(self._files)
        what = f"{self.kind} {describe_spec(files, self._files)}"
        one_split = f"{self.kind}:FOLDER/train-*{self.suffix}"
        warn_of_named_splits(what, [str(file) for file in self._files], one_split)
        cache = cache_of(self._files, given.columns, given.cache_dir)
        status = [(file.name, file.size, file.version) for file in self._files]
        signature = signature_of([*status, *given.read_by])
        super().__init__(what, split, given, cache, signature, self.hashed)

    def stamp(self) -> str:
        """A hash that changes as soon as an item may have changed."""
        return stamp_of(self._files, self.report.signature, self._ids)

    def location(self, index: int) -> str:
        """The id of an item, and the file that holds it."""
        return f"{self._ids[index]} of {self._files[int(self._rows[index, 0])]}"
