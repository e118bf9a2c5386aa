"""Train, validation and test parts of data that comes without them, or with some of them."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from dalle_jax.data.options import TEST_SHARE, VALIDATION_SHARE, check_shares

SPLITS = ("train", "validation", "test")
OTHER_CELL = "split that is none of train, validation, test; split by a hash"
NAMES = {  # under which folders, files and tables have them, in lower case
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
    """bool [N]: which of the N items belong to `split`, by a hash of each item's id.

    So an item stays in its part whatever is added to or removed from the data. `all` takes all.

    Raises:
        ValueError: there is no such split, or the shares are none.
    """
    check_split(split)
    check_shares(validation_share, test_share)
    numbers = split_numbers(
        split_positions(ids), validation_share=validation_share, test_share=test_share
    )
    return mask_of_split(numbers, split)


def check_split(split: str, splits: Sequence[str] = SPLITS) -> None:
    """Raise a ValueError if a split is neither `all` nor one of `splits`."""
    if split not in (*splits, "all"):
        raise ValueError(f"there is no split {split!r}; there are {', '.join(splits)} and all")


def split_positions(keys: Sequence[str]) -> np.ndarray:
    """float64 [N]: a fixed uniform number in [0, 1) for each key, by which it gets its split."""
    return np.array([_position(key) for key in keys], np.float64)


def split_numbers(
    positions: np.ndarray,
    *,
    validation_share: float,
    test_share: float,
    own: np.ndarray | None = None,
    own_splits: Sequence[str] = (),
) -> np.ndarray:
    """int [N]: the place in `SPLITS` of each item's split, by its position in [0, 1).

    Args:
        positions: float64 [N], of `split_positions`.
        validation_share: of the items without a split of their own.
        test_share: of the same.
        own: integers [N]: 0 for an item without a split of its own, else 1 + its place in
            `SPLITS`. It stays there, except for items of train where validation or test is lacking,
            which is then taken out of train by position.
        own_splits: the splits that the data has of its own.
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
    """bool [N]: which items belong to `split`, given the places in `SPLITS` of their splits."""
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
    """The splits that data has, given those of its own as `split_numbers` takes them.

    What it lacks is taken out of its train, if it has one, and out of items of no split.
    """
    return SPLITS if not own.all() or "train" in own_splits else tuple(own_splits)


def describe_own_splits(own_splits: Sequence[str], by: str) -> str:
    """What a report says of splits that data has of its own; `by` is what is hashed otherwise."""
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
        paths: of its files; their own names count, and after these those of their folders.
        spec: an example of how the files of one split are given.
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
            stacklevel=4,
        )


def lies_in_a_split(name: str) -> bool:
    """Whether one of the folders of a name with "/" is named after a split."""
    return any(part.lower() in NAMES for part in name.split("/")[:-1])


def named_splits(name: str) -> set[str]:
    """The splits that folders of a name with "/" are named after in a word, as "val2017"."""
    words = re.split(r"[^a-z]+", name.lower().rpartition("/")[0])
    return {NAMES[word] for word in words if word in NAMES}


def _position(key: str) -> float:
    digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
