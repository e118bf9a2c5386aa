"""Train, validation and test splits of data that comes without them, or with some of them."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dalle_jax.data.options import TEST_SHARE, VALIDATION_SHARE, check_shares

SPLITS = ("train", "validation", "test")
OTHER_CELL = "split that is none of train, validation, test; split by a hash"
NAMES = {  # by their names in folders, files and tables, in lower case
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_mask(
    ids: Sequence[str],
    split: str,
    *,
    validation_share: float = VALIDATION_SHARE,
    test_share: float = TEST_SHARE,
) -> np.ndarray:
    """bool [N]: which of the N items belong to `split` or to `all`, by a hash of each item's id.

    Raises:
        ValueError: there is no such split, or the shares are none.
    """
    check_split(split)
    check_shares(validation_share, test_share)
    shares = {"validation_share": validation_share, "test_share": test_share}
    return mask_of_split(split_numbers(split_positions(ids), **shares), split)


def check_split(split: str) -> None:
    """Raise a ValueError if a split is neither one of `SPLITS` nor `all`."""
    if split not in (*SPLITS, "all"):
        raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)} and all")


def split_positions(keys: Sequence[str]) -> np.ndarray:
    """float64 [N]: a fixed uniform number in [0, 1) for each key, by which it gets its split.

    So an item stays in its split whatever is added to or removed from the data.
    """
    digests = (hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest() for key in keys)
    return np.array([int.from_bytes(digest[:6], "big") / 2**48 for digest in digests], np.float64)


def split_numbers(
    positions: np.ndarray,
    *,
    validation_share: float,
    test_share: float,
    own: np.ndarray | None = None,
    own_splits: Sequence[str] = (),
) -> np.ndarray:
    """int [N]: the number in `SPLITS` of each item's split, by its position in [0, 1).

    Args:
        positions: float64 [N], of `split_positions`.
        validation_share: of the items that the data puts in no split.
        test_share: likewise.
        own: integers [N], 1 + the number in `SPLITS` of the split that the data puts the item in,
            0 for none. It stays there, except that a validation or test split that the data lacks
            is taken out of train by position.
        own_splits: the splits that the data itself has.
    """
    by_position = np.zeros(len(positions), np.int8)
    by_position[positions < test_share + validation_share] = SPLITS.index("validation")
    by_position[positions < test_share] = SPLITS.index("test")
    if own is None:
        return by_position
    # Positions of a split that the data has itself are those of train.
    of_train = by_position.copy()
    for name in {*own_splits} - {"train"}:
        of_train[by_position == SPLITS.index(name)] = SPLITS.index("train")
    return np.where(own == 0, by_position, np.where(own == 1, of_train, own - 1))


def mask_of_split(numbers: np.ndarray, split: str) -> np.ndarray:
    """bool [N]: which items belong to `split`, given the numbers in `SPLITS` of their splits."""
    if split == "all":
        return np.ones(len(numbers), bool)
    return numbers == SPLITS.index(split)


def split_of(value: Any) -> tuple[str, bool]:
    """The split that a cell of a table names, "" if none; and whether it holds something else."""
    cell = value[0] if isinstance(value, list) and len(value) == 1 else value
    split = NAMES.get(cell.strip().casefold(), "") if isinstance(cell, str) else ""
    blank = cell is None or cell == [] or (isinstance(cell, str) and not cell.strip())
    return split, not split and not blank


def splits_there(own: np.ndarray, own_splits: Sequence[str]) -> tuple[str, ...]:
    """The splits that can be read: those that data lacks come from its train or from items of none.

    The arguments are those of `split_numbers`.
    """
    return SPLITS if not own.all() or "train" in own_splits else tuple(own_splits)


def describe_own_splits(own_splits: Sequence[str], by: str) -> str:
    """A remark for a report on the splits that data itself has; `by` is what is hashed else."""
    if not own_splits:
        return ""
    missing = [name for name in ("validation", "test") if name not in own_splits]
    text = f" (its own {' and '.join(own_splits)}"
    if missing and "train" in own_splits:
        text += f"; {' and '.join(missing)} taken out of train by a hash of {by}"
    return f"{text})"


def warn_of_named_splits(what: str, paths: Sequence[str], spec: str) -> None:
    """Warn if files are named after several splits, which are read as one data set.

    Args:
        what: the data set, for the message.
        paths: of its files; a file's name takes precedence over its folder's.
        spec: an example of how to give the files of one split.
    """
    names = ("/".join(reversed(path.lower().split("/")[-2:])) for path in paths)
    words = (re.split(r"[/._-]", name) for name in names)
    found = [next((NAMES[word] for word in parts if word in NAMES), "") for parts in words]
    first = {name: path for name, path in zip(found, paths) if name}
    if len(first) > 1:
        shown = ", ".join(f"{path} ({name})" for name, path in sorted(first.items()))
        warnings.warn(
            f"files of {what} are named after several splits: {shown}. They are read as one data "
            f"set, which is split by a hash. To leave the others out, give those of one: {spec}",
            stacklevel=5,
        )


def lies_in_a_split(name: str) -> bool:
    """Whether a folder in the path `name` is named after a split."""
    return any(part.lower() in NAMES for part in name.split("/")[:-1])


def named_splits(name: str) -> set[str]:
    """The splits that words in the folders of the path `name` name, as "val2017"."""
    words = re.split(r"[^a-z]+", name.lower().rpartition("/")[0])
    return {NAMES[word] for word in words if word in NAMES}
