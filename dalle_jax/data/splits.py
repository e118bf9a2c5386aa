"""Train, validation and test parts of data that comes without them."""

import hashlib
from collections.abc import Sequence

import numpy as np

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.05
TEST_SHARE = 0.05


def split_mask(
    ids: Sequence[str],
    split: str,
    *,
    validation_share: float = VALIDATION_SHARE,
    test_share: float = TEST_SHARE,
) -> np.ndarray:
    """bool [N]: which of the N items belong to `split`, by a hash of each item's id.

    So an item stays in its part whatever is added to or removed from the data. `all` takes all.
    """
    if split == "all":
        return np.ones(len(ids), bool)
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; there are {', '.join(SPLITS)} and all.")
    if min(validation_share, test_share) < 0 or validation_share + test_share > 1:
        raise ValueError(
            f"validation_share = {validation_share:g} and test_share = {test_share:g} must be "
            "positive and add up to at most 1."
        )
    positions = np.array([_position(item) for item in ids])
    edges = {"test": (0, test_share), "validation": (test_share, test_share + validation_share)}
    low, high = edges.get(split, (test_share + validation_share, 1))
    return (positions >= low) & (positions < high)


def _position(item: str) -> float:
    """A fixed uniform number in [0, 1) for `item`."""
    digest = hashlib.sha256(item.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
