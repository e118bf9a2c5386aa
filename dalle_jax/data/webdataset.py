"""Tar shards of images and captions, read at random through an index that is built once."""

import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.data.checked import Finding, about_to_scan, inspect_item, scan, signature_of
from dalle_jax.data.files import (
    File,
    LocalFile,
    cache_of,
    describe_spec,
    find_files,
    labels_of,
    stamp_of,
)
from dalle_jax.data.images import decode
from dalle_jax.data.img2dataset import border_note
from dalle_jax.data.item_digests import MAX_ITEMS, digests_of
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.shard_index import (
    ROLES,
    VERSION,
    Index,
    Names,
    build_index,
    load_former_ids,
    load_index,
    names_of,
    save_index,
)
from dalle_jax.data.splits import (
    SPLITS,
    lies_in_a_split,
    split_mask,
    warn_of_named_splits,
)
from dalle_jax.data.text import (
    captions_of_lines,
    captions_of_record,
    check_fields,
    decode_text,
    unique_fields,
)

NAMED_AS_SPLIT = "in a folder of a shard named as a split, which is none; split by a hash"
# Captions that lie so close to their image are read together with it.
_CLOSE = 2**16  # bytes


class WebDatasetSource:
    """Samples of tar shards: the members of one key, an image and its captions.

    `shards` is what `find_files` takes: a glob ("data/*.tar"), braces ("data/{000..010}.tar"), a
    folder, a URL, a list of these, or several with `::` between them. The index and the report lie
    beside the first shard (of URLs, in the user's cache folder), or in `cache_dir`, and are made
    again when a shard's name, size, time or ETag changes. `options` are those of `ReadingOptions`.

    Attributes:
        report: of what is used, bad and left out.
        signature: of names, sizes and captions of all splits; not of where the shards lie.

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
        self._shards = find_files(shards, ".tar")
        self._encoding = options.encoding
        names = names_of(options.image_column, options.caption_column)
        self._fields = names.fields
        labels = labels_of(self._shards)
        columns = options.columns
        index_path, report_path = cache_of(self._shards, columns, options.cache_dir)
        status = [(shard.name, shard.size, shard.version) for shard in self._shards]
        signature = signature_of([*status, *columns])
        what = f"webdataset {describe_spec(shards, self._shards)}"
        warn_of_named_splits(
            what, [str(file) for file in self._shards], "webdataset:FOLDER/train-*.tar"
        )
        index, former = _open_index(index_path, signature, self._shards, labels, names)
        rows = index.rows
        numbers = rows[:, 0].tolist()
        ids = [
            f"{labels[shard]}/{key}" if key else f"{labels[shard]} (the rest of the shard)"
            for key, shard in zip(index.keys, numbers)
        ]
        # The key of an item's split depends on nothing else: not on the other shards, nor on
        # where they lie.
        keys = [f"{self._shards[shard].name}/{key}" for key, shard in zip(index.keys, numbers)]
        readers = [shard.read_ahead().read for shard in self._shards]
        met: set[str] = set()

        def inspect(i: int) -> Finding:
            bad = index.problems.get(i)
            if bad is not None:
                return Finding(bad, content=keys[i])
            image, texts = _parts(rows[i], readers[numbers[i]])
            if self._fields:
                met.update(_fields(texts))
            try:
                captions = self._captions(texts)
            except ValueError as error:
                return Finding(f"unreadable caption: {error}", content=keys[i])
            finding = inspect_item(
                image,
                captions,
                options,
                (keys[i], len(image or b""), captions),
                border_note(texts.get("json")),
            )
            if finding.is_used and lies_in_a_split(index.keys[i]):
                finding = finding._replace(note=NAMED_AS_SPLIT)
            return finding

        read_by = [options.encoding, options.min_side, options.max_aspect_ratio]
        good, self.report = scan(
            what,
            ids,
            inspect,
            signature=signature_of([signature, VERSION, *read_by]),
            report_path=report_path,
            max_bad_share=options.max_bad_share,
            left_out=index.left_out,
            check=lambda: check_fields(what, self._fields, met),
        )
        self.signature = self.report.content
        if former:
            there = ((former.get(tuple(rows[i, :2].tolist())), keys[i]) for i in good)
            _warn_of_moves([pair for pair in there if pair[0]], options.shares)
        mask = split_mask([keys[i] for i in good], split, **options.shares)
        used = good[:MAX_ITEMS].tolist()
        self._items = [keys[i] for i in used], rows[used, 2::2]
        refused = np.setdiff1d(np.arange(len(ids)), good)
        self._refused = {ids[i]: rows[i] for i in refused.tolist()}
        self._rows = rows[good[mask]]
        self._ids = [ids[i] for i in good[mask]]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._rows[index]
        try:
            encoded, texts = _parts(row, self._shards[int(row[0])].read)
            image, captions = decode(encoded or b""), tuple(self._captions(texts))
            caption = captions[0]
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{self.place(index)}, readable when the shards were scanned, is not: {error}."
            ) from error
        return {
            "image": image,
            "caption": caption,
            "captions": captions,
            "id": self._ids[index],
        }

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item that was refused; None where it has none."""
        row = self._refused.get(item_id)
        try:
            return None if row is None else _parts(row, self._shards[int(row[0])].read)[0]
        except OSError:
            return None

    def stamp(self) -> str:
        """A hash that is another as soon as an item may be."""
        return stamp_of(self._shards, self.report.signature, self._ids)

    def item_digests(self) -> np.ndarray:
        """uint64 [N, 2] of the items of all splits, see `item_digests.digests_of`."""
        keys, sizes = self._items
        return digests_of(zip(keys, sizes.tolist()))

    def place(self, index: int) -> str:
        """The shard and the key of an item."""
        return f"{self._ids[index]} of {self._shards[int(self._rows[index, 0])]}"

    def _captions(self, texts: dict[str, bytes]) -> list[str]:
        """The captions in the first caption member that holds any; [""] where all are empty."""
        for suffix, encoded in texts.items():
            if suffix == "json":
                captions = captions_of_record(_record(encoded), ",".join(self._fields))
                if captions is None:
                    raise ValueError("JSON of another form")
            else:
                captions = captions_of_lines(decode_text(encoded, self._encoding))
            if captions:
                return captions
        return [""] if texts and "json" not in texts else []


def _record(encoded: bytes) -> Any:
    """What a JSON member, which is always UTF-8, holds."""
    try:
        return json.loads(decode_text(encoded), object_pairs_hook=unique_fields)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON") from None


def _fields(texts: Mapping[str, bytes]) -> Collection[str]:
    """The fields of the JSON member, none where there is none or it can't be read."""
    try:
        record = _record(texts["json"])
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


def _open_index(
    path: Path, signature: str, shards: Sequence[File], labels: Sequence[str], names: Names
) -> tuple[Index, dict[tuple[int, int], str] | None]:
    """The index at `path`, made where it is not there, and the ids in one of version 1 there."""
    index, former = load_index(path, signature, [shard.size for shard in shards]), None
    if index is None:
        about_to_scan(is_known=path.exists())
        former = load_former_ids(path, _former_signature(shards))
        index = build_index(shards, labels, names)
        save_index(path, signature, index)
    return index, former


def _former_signature(shards: Sequence[File]) -> str:
    """The signature in an index of version 1, which there is of local shards only."""
    return signature_of(
        (shard.name, shard.size, int(shard.version))
        for shard in shards
        if isinstance(shard, LocalFile)
    )


def _warn_of_moves(pairs: Sequence[tuple[str, str]], shares: dict[str, float]) -> None:
    """Warn if items went by other ids in an index of version 1, and so were in other splits."""
    before, after = zip(*pairs) if pairs else ((), ())
    moved = sum(
        int((split_mask(before, split, **shares) & ~split_mask(after, split, **shares)).sum())
        for split in SPLITS
    )
    if moved:
        warnings.warn(
            f"{moved} of {len(pairs)} items are in another split than in the index that an earlier "
            "version made: the key of an item is now its shard's file name and its name there, "
            "without the shard's folder and a ./ before the name.",
            stacklevel=3,
        )
