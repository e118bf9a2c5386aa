"""Short hashes of each item's name and content, by which changed data says what has changed."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dalle_jax.files import UNREADABLE_NPZ, write_atomically

MAX_ITEMS = 500_000  # of a data set whose digests are stored: 8 MB


def digests_of(items: Iterable[tuple[str, object]]) -> np.ndarray:
    """uint64 [N, 2]: hashes of the name and of the content of each (name, content)."""
    rows = [(_digest(name), _digest(repr(content))) for name, content in items]
    return np.array(rows, np.uint64).reshape(-1, 2)


def save_digests(path: Path, signature: str, digests: np.ndarray) -> None:
    """Write the digests of a data set of that content signature."""
    content = {"signature": np.array(signature), "digests": digests}
    write_atomically(path, lambda file: np.savez(file, **content))


def load_digests(path: Path, signature: str) -> np.ndarray | None:
    """The digests at `path`; None where there are none of data of that content signature."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            digests = saved["digests"]
            same = str(saved["signature"]) == signature
    except UNREADABLE_NPZ:
        return None
    sound = digests.dtype == np.uint64 and digests.ndim == 2 and digests.shape[1] == 2
    return digests if same and sound else None


def describe_change(before: np.ndarray, after: np.ndarray) -> str:
    """What became of the items: "3 items were added, 1 was removed, 2 have other captions …"."""
    then, now = (dict(digests.tolist()) for digests in (before, after))
    counts = {
        "added": len(now.keys() - then.keys()),
        "removed": len(then.keys() - now.keys()),
    }
    changed = sum(now[name] != content for name, content in then.items() if name in now)
    parts = [f"{count:,} {_items(count)} {what}" for what, count in counts.items() if count]
    if changed:
        parts.append(f"{changed:,} {'has' if changed == 1 else 'have'} another size or captions")
    return ", ".join(parts)


def _items(count: int) -> str:
    return "item was" if count == 1 else "items were"


def _digest(text: str) -> int:
    encoded = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "big")
