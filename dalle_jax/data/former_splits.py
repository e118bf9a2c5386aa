"""Sentences about items that an earlier version of this package put in another split."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from dalle_jax.data.folder_images import Item
from dalle_jax.data.folder_index import FolderIndex
from dalle_jax.data.report import Report
from dalle_jax.data.splits import split_numbers, split_positions

# All that were read then.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def warn_of_moved(
    what: str,
    former: Report,
    items: Sequence[Item],
    index: FolderIndex,
    shares: Mapping[str, float],
) -> None:
    """Warn of usable items whose split differs from that by the names in a former report.

    Args:
        what: the data set.
        former: report of the earlier version, which hashed names as tables and links spell them.
        items: the usable ones, in the order of `index`.
        index: of the folder.
        shares: validation_share and test_share.
    """
    skipped = {name for names in former.skipped.values() for name in names}
    known = [
        (i, name)
        for i, item in enumerate(items)
        for name in item.former
        if name not in skipped and name.lower().endswith(SUFFIXES)
    ]
    if not known:
        return
    before = split_numbers(split_positions([name for _, name in known]), **shares)
    numbers = np.array([i for i, _ in known])
    now = split_numbers(index.positions, **shares, own=index.own, own_splits=index.own_splits)
    moved = len({*numbers[before != now[numbers]].tolist()})
    if moved:
        folders = f", and the folders {', '.join(index.own_splits)} are" * bool(index.own_splits)
        warnings.warn(
            f"{moved} of {len(items)} items of {what} are in another split than an earlier version "
            "put them in: a split follows from the path of the image itself, however a table "
            f"or a link spells it{folders and folders + ' splits'}; measurements on held-out items "
            "from before do not compare",
            stacklevel=4,
        )


def warn_of_counted_splits(
    what: str,
    positions: np.ndarray,
    own: np.ndarray,
    own_splits: Sequence[str],
    shares: Mapping[str, float],
) -> None:
    """Warn of items whose split differs from that of a version which read no column of splits.

    The arguments are those of `split_numbers`.
    """
    now = split_numbers(positions, **shares, own=own, own_splits=own_splits)
    if moved := int((now != split_numbers(positions, **shares)).sum()):
        warnings.warn(
            f"{moved} of {len(positions)} items of {what} are in another split than an earlier "
            "version put them in: the column of splits counts now; measurements on held-out items "
            "from before do not compare",
            stacklevel=4,
        )
