"""One reading of all items of a folder, and what it finds."""

from collections.abc import Callable, Sequence

import numpy as np

from dalle_jax.data.checked import Finding, inspect_all, inspect_item
from dalle_jax.data.folder_files import LocalFolder
from dalle_jax.data.folder_images import Item
from dalle_jax.data.folder_index import Captions, FolderIndex
from dalle_jax.data.folder_items import find_items
from dalle_jax.data.img2dataset import border_note
from dalle_jax.data.no_image import OTHER_IMAGE_SUFFIXES, UNREADABLE, other_format
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.remote_server import RemoteError
from dalle_jax.data.report import Report
from dalle_jax.data.splits import OTHER_CELL, SPLITS, lies_in_a_split, split_positions
from dalle_jax.data.text import (
    UNREADABLE_CAPTION,
    caption_columns,
    captions_of_lines,
    check_fields,
    columns_of_record,
    decode_text,
    parse_json,
)
from dalle_jax.data.walk import suffix_of

OTHER_SPLIT = (
    "in a folder named as a split, which counts only at the top and with the captions in it; split "
    "by a hash"
)
WITHOUT_COLUMNS = "caption of a text file, which has none of the columns of caption_column"
SEVERAL_SPLITS = "in several split folders, used in the last of train, validation, test"


def scan_folder(
    what: str, folder: LocalFolder, only_table: str, options: ReadingOptions
) -> tuple[Report, FolderIndex]:
    """Read every item of the data set `what` once; the report, and the index of the usable items.

    Raises:
        ValueError: see `find_items`, whose `only_table` it is.
        OSError: a URL can't be read.
    """
    items, bad_rows, left_out = find_items(folder, options, only_table)
    captions: list[list[tuple[str, str]]] = [[]] * len(items)
    inspector = _Inspector(folder, options)

    def inspect(i: int) -> Finding:
        finding, captions[i] = inspector.inspect(items[i])
        return finding

    report, good = inspect_all(
        what,
        [item.file.name for item in items],
        inspect,
        left_out=left_out,
        num_threads=folder.num_threads,
    )
    inspector.check(what)
    for name, problem in bad_rows.items():
        report.skip(problem, name)
    report.total += len(bad_rows)
    numbers = {file.name: number for number, file in enumerate(folder.tree.files)}
    usable = [items[i] for i in good]
    own = {name: number for number, name in enumerate(SPLITS, 1)}
    index = FolderIndex(
        np.array([numbers[item.file.name] for item in usable], np.int64),
        Captions.of([[text for text, _ in captions[i]] for i in good]),
        Captions.of([[column for _, column in captions[i]] for i in good]),
        split_positions([item.key for item in usable]),
        np.array([own.get(item.split, 0) for item in usable], np.uint8),
        tuple(name for name in SPLITS if any(name in item.splits for item in items)),
    )
    return report, index


class _Inspector:
    def __init__(self, folder: LocalFolder, options: ReadingOptions):
        self._folder, self._options = folder, options
        self._met: set[str] = set()  # Fields of JSON beside images.

    def inspect(self, item: Item) -> tuple[Finding, list[tuple[str, str]]]:
        """The finding on an item, and its captions with their columns."""
        if item.problem is not None:
            return Finding(item.problem, content=item.key), []
        captions = list(item.captions)
        look = None
        try:
            for names in item.beside:
                captions += [p for p in self._read_beside(names[0]) if p not in captions]
                look = look or self._border_note(names)
        except RemoteError:
            raise  # A broken connection says nothing of the item.
        except (OSError, ValueError) as error:
            return Finding(f"{UNREADABLE_CAPTION}: {error}", content=item.key), []
        if not captions:
            # A JSON file may be about something else than a caption.
            is_about_captions = not all(map(_is_json, item.beside))
            problem = "empty caption" if is_about_captions else "image without caption"
            return Finding(problem, content=item.key), []
        suffix = suffix_of(item.file.name)
        if suffix in OTHER_IMAGE_SUFFIXES:
            return Finding(other_format(suffix), content=item.key), []
        try:
            encoded = self._folder.read(item.file.name)
        except RemoteError:
            raise
        except OSError:
            return Finding(UNREADABLE, content=item.key), []
        texts = [text for text, _ in captions]
        content = (item.key, len(encoded), texts, item.split)
        finding = inspect_item(encoded, texts, self._options, content, look)
        if finding.is_used and (note := self._note(item)):
            finding = finding._replace(note=note)
        return finding, captions

    def _note(self, item: Item) -> str | None:
        """A remark on the split or the captions of an item that is used."""
        if len(item.splits - {""}) > 1:
            return SEVERAL_SPLITS
        if not item.split and item.other_split:
            return OTHER_CELL
        if not item.split and lies_in_a_split(item.file.name):
            return OTHER_SPLIT
        if self._options.caption_column and not all(map(_is_json, item.beside)):
            return WITHOUT_COLUMNS
        return None

    def _read_beside(self, name: str) -> list[tuple[str, str]]:
        """The captions of a file beside an image; a ValueError if they can't be read."""
        text = decode_text(self._folder.read(name), self._options.encoding)
        if not name.lower().endswith(".json"):
            return [(line, "") for line in captions_of_lines(text)]
        record = parse_json(text)
        captions = columns_of_record(record, self._options.caption_column)
        if captions is None:
            raise ValueError("no JSON object with a caption")
        self._met.update(record)
        return captions

    def check(self, what: str) -> None:
        """Raise a ValueError if files beside images have only some fields of `caption_column`."""
        wanted = caption_columns(self._options.caption_column)
        if not self._met.isdisjoint(wanted):
            check_fields(what, wanted, self._met)

    def _border_note(self, names: list[str]) -> Callable[[np.ndarray], str | None] | None:
        records = [name for name in names if name.lower().endswith(".json")]
        return border_note(self._folder.read(records[0])) if records else None


def _is_json(beside: Sequence[str]) -> bool:
    """Whether the file to read first of those beside an image is JSON."""
    return beside[0].lower().endswith(".json")
