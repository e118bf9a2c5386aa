"""What the sources of user data have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dalle_jax.data.files import File, stamp_of
from dalle_jax.data.images import decode
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.report import Report
from dalle_jax.data.splits import SPLITS, mask_of_split, split_numbers, splits_there


class UserSource:
    """A split of a data set of the user: the items that a scan found usable, read when asked for.

    A reader sets `report` and `_files` (or defines `stamp`), calls `_use`, and defines `location`,
    `_parts` and `_captions` (or `_read`).

    Attributes:
        report: of what is used, bad and left out, in all splits.
        splits: that the data has, of its own or by a hash of each item's key.
    """

    report: Report
    splits: Sequence[str] = SPLITS
    _files: Sequence[File]
    _ids: Sequence[str]
    _rows: np.ndarray

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

    def stamp(self) -> str:
        """A hash that is another as soon as an item may be."""
        return stamp_of(self._files, self.report.signature, self._ids)

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item that was refused; None where it has none."""
        row = self._refused.get(item_id)
        try:
            return None if row is None else self._parts(row)[0]
        except (OSError, ValueError):
            return None

    def _use(
        self,
        ids: Sequence[str],
        rows: np.ndarray,
        good: np.ndarray,
        positions: np.ndarray,
        split: str,
        options: ReadingOptions,
        own: np.ndarray | None = None,
        own_splits: Sequence[str] = (),
    ) -> None:
        """Take the usable items of a split.

        Args:
            ids: of all items that were scanned.
            rows: [N, …] where each of them lies.
            good: int64 [G]: numbers of the usable ones.
            positions: float64 [G] of these, of `split_positions`.
            split: of `SPLITS`, or all.
            options: of the reading.
            own, own_splits: the splits that the data has of its own, see `split_numbers`.

        Raises:
            ValueError: the data has no such split.
        """
        if own is not None:
            self.splits = splits_there(own, own_splits)
        if split not in ("all", *self.splits):
            raise ValueError(
                f"{self.report.what} has no {split} split; it has {', '.join(own_splits)}"
            )
        numbers = split_numbers(positions, own=own, own_splits=own_splits, **options.shares)
        used = good[mask_of_split(numbers, split)]
        self._ids, self._rows = [ids[i] for i in used.tolist()], rows[used]
        is_refused = np.ones(len(rows), bool)
        is_refused[good] = False
        self._refused = {ids[i]: rows[i] for i in np.flatnonzero(is_refused).tolist()}

    def _read(self, index: int) -> tuple[bytes | None, Sequence[str]]:
        """The encoded image and the captions of an item."""
        encoded, texts = self._parts(self._rows[index])
        return encoded, self._captions(texts)

    def _parts(self, row: np.ndarray) -> tuple[bytes | None, Any]:
        """The encoded image that lies at a row, None where there is none, and what holds captions.

        Raises:
            ValueError: they can't be read.
            OSError: the connection or the disk fails.
        """
        raise NotImplementedError

    def _captions(self, texts: Any) -> list[str]:
        """The captions; [""] where all are empty, [] where there are none."""
        raise NotImplementedError

    def location(self, index: int) -> str:
        """Where an item lies, for messages."""
        raise NotImplementedError
