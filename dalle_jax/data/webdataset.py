"""Tar shards of images and captions, read at random through an index that is built once."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import numpy as np

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.img2dataset import border_note
from dalle_jax.data.index import Index, text_array
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.shard_index import ROLES, Names, find_samples, is_sound, names_of
from dalle_jax.data.splits import lies_in_a_split, split_positions
from dalle_jax.data.text import (
    UNREADABLE_CAPTION,
    captions_of_lines,
    captions_of_record,
    check_fields,
    decode_text,
    parse_json,
)
from dalle_jax.data.user_source import FileSource, Listing

NAMED_AS_SPLIT = "in a folder of a shard named as a split, which is none; split by a hash"
# Captions that lie so close to their image are read together with it.
_CLOSE = 2**16  # bytes


class WebDatasetSource(FileSource):
    """Samples of tar shards: the members of one key, an image and its captions.

    Raises:
        ValueError: a shard is compressed, or no image has a caption.
    """

    kind, suffix, hashed = "webdataset", ".tar", ""

    @cached_property
    def _names(self) -> Names:
        return names_of(self._options.image_column, self._options.caption_column)

    def _scan(self) -> Index:
        found = find_samples(self._files, self._labels, self._names)
        keys, ids = self._keys(found.keys, found.rows), self._all_ids(found.keys, found.rows)
        readers = [shard.read_ahead().read for shard in self._files]
        met: set[str] = set()

        def inspect(i: int) -> Finding:
            bad = found.problems.get(i)
            if bad is not None:
                return Finding(bad, content=keys[i])
            image, texts = _parts(found.rows[i], readers[int(found.rows[i, 0])])
            if self._names.fields:
                met.update(_fields(texts))
            try:
                captions = self._captions(texts)
            except ValueError as error:
                return Finding(f"{UNREADABLE_CAPTION}: {error}", content=keys[i])
            content = (keys[i], len(image or b""), captions)
            look = border_note(texts.get("json"))
            finding = inspect_item(image, captions, self._options, content, look)
            if finding.is_used and lies_in_a_split(found.keys[i]):
                finding = finding._replace(note=NAMED_AS_SPLIT)
            return finding

        report, good = inspect_all(self._what, ids, inspect, left_out=found.left_out)
        check_fields(self._what, self._names.fields, met)
        arrays = {"keys": text_array(json.dumps(found.keys)), "rows": found.rows, "good": good}
        return Index(report, arrays)

    def _is_sound(self, arrays: Mapping[str, np.ndarray]) -> bool:
        return is_sound(arrays, [shard.size for shard in self._files])

    def _listing(self, arrays: Mapping[str, np.ndarray]) -> Listing:
        names, rows, good = json.loads(arrays["keys"].tobytes()), arrays["rows"], arrays["good"]
        keys = self._keys([names[i] for i in good.tolist()], rows[good])
        self._items = keys[:MAX_ITEMS], rows[good[:MAX_ITEMS], 2::2]
        return Listing(self._all_ids(names, rows), rows, good, split_positions(keys))

    def _keys(self, names: Sequence[str], rows: np.ndarray) -> list[str]:
        """What the splits of samples depend on: not the other shards, nor where they lie."""
        return [f"{self._files[i].name}/{name}" for i, name in zip(rows[:, 0].tolist(), names)]

    def _all_ids(self, names: Sequence[str], rows: np.ndarray) -> list[str]:
        labels = [self._labels[i] for i in rows[:, 0].tolist()]
        return [
            f"{label}/{name}" if name else f"{label} (the rest of the shard)"
            for label, name in zip(labels, names)
        ]

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        keys, sizes = self._items
        return digests_of(zip(keys, sizes.tolist()))

    def _parts(self, row: np.ndarray) -> tuple[bytes | None, dict[str, bytes]]:
        return _parts(row, self._files[int(row[0])].read)

    def _captions(self, texts: dict[str, bytes]) -> list[str]:
        """The captions in the first caption member that holds any; [""] where all are empty."""
        for suffix, encoded in texts.items():
            if suffix == "json":  # always UTF-8
                record = parse_json(decode_text(encoded))
                captions = captions_of_record(record, ",".join(self._names.fields))
                if captions is None:
                    raise ValueError("not JSON" if record is None else "JSON of another form")
            else:
                captions = captions_of_lines(decode_text(encoded, self._options.encoding))
            if captions:
                return captions
        return [""] if texts and "json" not in texts else []


def _fields(texts: Mapping[str, bytes]) -> Collection[str]:
    """The fields of the JSON member, none where there is none or it can't be read."""
    try:
        record = parse_json(decode_text(texts["json"]))
    except (KeyError, ValueError):
        return ()
    return record if isinstance(record, dict) else ()


def _parts(
    row: np.ndarray, read: Callable[[int, int], bytes]
) -> tuple[bytes | None, dict[str, bytes]]:
    """The encoded image (None where there is none) and the caption members of a row."""
    numbers = row.tolist()
    locations = {
        role: (offset, size)
        for role, offset, size in zip(ROLES, numbers[1::2], numbers[2::2])
        if offset >= 0
    }
    if not locations:
        return None, {}
    start = min(offset for offset, _ in locations.values())
    end = max(offset + size for offset, size in locations.values())
    if end - start <= sum(size for _, size in locations.values()) + _CLOSE:
        span = read(start, end - start)
        parts = {
            role: span[offset - start : offset - start + size]
            for role, (offset, size) in locations.items()
        }
    else:
        parts = {role: read(*location) for role, location in locations.items()}
    return parts.pop("image", None), parts
