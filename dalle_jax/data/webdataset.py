"""Tar shards of images and captions, read at random through an index that is built once."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.files import cache_of, describe_spec, find_files, labels_of
from dalle_jax.data.img2dataset import border_note
from dalle_jax.data.index import Index, open_index, signature_of, text_array
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.report import Report
from dalle_jax.data.shard_index import (
    ROLES,
    Samples,
    find_samples,
    is_sound,
    names_of,
)
from dalle_jax.data.splits import (
    check_split,
    lies_in_a_split,
    split_positions,
    warn_of_named_splits,
)
from dalle_jax.data.text import (
    UNREADABLE_CAPTION,
    captions_of_lines,
    captions_of_record,
    check_fields,
    decode_text,
    parse_json,
)
from dalle_jax.data.user_source import UserSource

NAMED_AS_SPLIT = "in a folder of a shard named as a split, which is none; split by a hash"
# Captions that lie so close to their image are read together with it.
_CLOSE = 2**16  # bytes


class WebDatasetSource(UserSource):
    """Samples of tar shards: the members of one key, an image and its captions.

    `shards` is what `find_files` takes: a glob ("data/*.tar"), braces ("data/{000..010}.tar"), a
    folder, a URL, a list of these, or several with `::` between them. The index and the report lie
    beside the first shard (of URLs, in the user's cache folder), or in `cache_dir`, and are made
    again when a shard's name, size, time or ETag changes. `options` are those of `ReadingOptions`.

    Raises:
        FileNotFoundError: there are no such shards.
        ValueError: more than `max_bad_share` of the samples are bad, a shard is compressed, or no
            image has a caption.
        OSError: a shard can't be read.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        split: str = "train",
        **options: Any,
    ):
        options = ReadingOptions(**options)
        check_split(split)
        self._files = find_files(shards, ".tar")
        self._labels = labels_of(self._files)
        self._encoding = options.encoding
        names = names_of(options.image_column, options.caption_column)
        self._fields = names.fields
        what = f"webdataset {describe_spec(shards, self._files)}"
        warn_of_named_splits(
            what, [str(file) for file in self._files], "webdataset:FOLDER/train-*.tar"
        )
        index_path, report_path = cache_of(self._files, options.columns, options.cache_dir)
        status = [(shard.name, shard.size, shard.version) for shard in self._files]

        def scan() -> Index:
            found = find_samples(self._files, self._labels, names)
            report, good = self._scan(what, found, options)
            keys = text_array(json.dumps(found.keys))
            return Index(report, {"keys": keys, "rows": found.rows, "good": good})

        self.report, arrays = open_index(
            index_path,
            report_path,
            signature_of([*status, *options.read_by]),
            partial(is_sound, sizes=[shard.size for shard in self._files]),
            scan,
        )
        self.report.check_and_warn(what, options.max_bad_share)
        in_shards, rows = json.loads(arrays["keys"].tobytes()), arrays["rows"]
        keys, good = self._keys(in_shards, rows), arrays["good"]
        keys = [keys[i] for i in good]
        self._use(self._all_ids(in_shards, rows), rows, good, split_positions(keys), split, options)
        self._items = keys[:MAX_ITEMS], rows[good[:MAX_ITEMS], 2::2]

    def _keys(self, names: Sequence[str], rows: np.ndarray) -> list[str]:
        """What the splits of samples depend on.

        It is nothing else: not the other shards, nor where they lie.
        """
        return [f"{self._files[i].name}/{name}" for i, name in zip(rows[:, 0].tolist(), names)]

    def _all_ids(self, names: Sequence[str], rows: np.ndarray) -> list[str]:
        labels = [self._labels[i] for i in rows[:, 0].tolist()]
        return [
            f"{label}/{name}" if name else f"{label} (the rest of the shard)"
            for label, name in zip(labels, names)
        ]

    def _scan(
        self, what: str, found: Samples, options: ReadingOptions
    ) -> tuple[Report, np.ndarray]:
        keys = self._keys(found.keys, found.rows)
        readers = [shard.read_ahead().read for shard in self._files]
        met: set[str] = set()

        def inspect(i: int) -> Finding:
            bad = found.problems.get(i)
            if bad is not None:
                return Finding(bad, content=keys[i])
            image, texts = _parts(found.rows[i], readers[int(found.rows[i, 0])])
            if self._fields:
                met.update(_fields(texts))
            try:
                captions = self._captions(texts)
            except ValueError as error:
                return Finding(f"{UNREADABLE_CAPTION}: {error}", content=keys[i])
            content = (keys[i], len(image or b""), captions)
            look = border_note(texts.get("json"))
            finding = inspect_item(image, captions, options, content, look)
            if finding.is_used and lies_in_a_split(found.keys[i]):
                finding = finding._replace(note=NAMED_AS_SPLIT)
            return finding

        ids = self._all_ids(found.keys, found.rows)
        report, good = inspect_all(what, ids, inspect, left_out=found.left_out)
        check_fields(what, self._fields, met)
        return report, good

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        keys, sizes = self._items
        return digests_of(zip(keys, sizes.tolist()))

    def location(self, index: int) -> str:
        """The shard and the key of an item."""
        return f"{self._ids[index]} of {self._files[int(self._rows[index, 0])]}"

    def _parts(self, row: np.ndarray) -> tuple[bytes | None, dict[str, bytes]]:
        return _parts(row, self._files[int(row[0])].read)

    def _captions(self, texts: dict[str, bytes]) -> list[str]:
        """The captions in the first caption member that holds any; [""] where all are empty."""
        for suffix, encoded in texts.items():
            if suffix == "json":  # always UTF-8
                record = parse_json(decode_text(encoded))
                captions = captions_of_record(record, ",".join(self._fields))
                if captions is None:
                    raise ValueError("not JSON" if record is None else "JSON of another form")
            else:
                captions = captions_of_lines(decode_text(encoded, self._encoding))
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
    places = {
        role: (offset, size)
        for role, offset, size in zip(ROLES, numbers[1::2], numbers[2::2])
        if offset >= 0
    }
    if not places:
        return None, {}
    start = min(offset for offset, _ in places.values())
    end = max(offset + size for offset, size in places.values())
    if end - start <= sum(size for _, size in places.values()) + _CLOSE:
        span = read(start, end - start)
        parts = {
            role: span[offset - start : offset - start + size]
            for role, (offset, size) in places.items()
        }
    else:
        parts = {role: read(*place) for role, place in places.items()}
    return parts.pop("image", None), parts
