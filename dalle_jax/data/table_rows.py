"""Rows of tables that give images their captions, and how their columns are found."""

import os
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

from dalle_jax.data.csv_rows import SEPARATORS
from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.splits import NAMES
from dalle_jax.data.text import (
    CAPTION_KEYS,
    caption_columns,
    columns_of_record,
    decode_text,
    not_decodable,
)

FILE_KEYS = ("file_name", "filename", "image", "image_path", "path", "file", "file_path")
SPLIT_KEY = "split"

UNREADABLE_ROW = "unreadable row"
NO_FILE_NAME = "row without file name"
UNREADABLE_CAPTION = "unreadable caption"


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        place: the line, or the number of the row in a table without lines, from 1 on.
        file: the image's name as it is spelled there; of a bad row as far as it is known.
        captions: with the names of their columns.
        problem: why the row is bad, or None.
        split: that the table puts the image in: train, validation or test; "" if in none.
        anywhere: whether the image may lie in any folder below, as long as only one has the name.
    """

    place: int
    file: str | None
    captions: Sequence[tuple[str, str]] = ()
    problem: str | None = None
    split: str = ""
    anywhere: bool = False


class Columns(NamedTuple):
    """Options of how tables are read; empty names stand for the usual ones."""

    encoding: str = "utf-8"
    image: str = ""
    caption: str = ""

    @property
    def file_keys(self) -> Sequence[str]:
        """The columns that may hold the image's name, the likeliest first."""
        return (self.image,) if self.image else FILE_KEYS

    @property
    def caption_keys(self) -> Sequence[str]:
        """The columns that may hold captions, the likeliest first."""
        return caption_columns(self.caption) or CAPTION_KEYS


class OtherForm(ValueError):
    """A file is named as a table of captions is, but is none: of JSON, which may hold anything."""


def row_of(
    place: int,
    record: dict[str, Any],
    file_keys: Sequence[str],
    caption_keys: Sequence[str],
    columns: Columns,
) -> Row:
    """The row of a record, in which a file name or a caption may be a list."""
    file = next((record[key] for key in file_keys if record.get(key) not in (None, "", [""])), None)
    if isinstance(file, list | tuple) and len(file) == 1:
        file = file[0]
    if isinstance(file, dict):  # Hugging Face's form of an image that is a file.
        file = file.get("path")
    if not isinstance(file, str) or not file.strip():
        return Row(place, None, problem=NO_FILE_NAME)
    captions = columns_of_record(record, ",".join(caption_keys) if columns.caption else "")
    problem = UNREADABLE_CAPTION if captions is None else None
    return Row(place, file, captions or (), problem, _split_of(record.get(SPLIT_KEY)))


def _split_of(value: Any) -> str:
    """The split that a cell names, "" if none."""
    cell = value[0] if isinstance(value, list) and len(value) == 1 else value
    return NAMES.get(cell.strip().casefold(), "") if isinstance(cell, str) else ""


def whole_text(file: BinaryIO, name: str, columns: Columns) -> str:
    """The text of a file that can't be read row by row.

    Raises:
        ValueError: it is not in the encoding.
    """
    try:
        return decode_text(file.read(), columns.encoding)
    except ValueError as error:
        raise ValueError(f"{name} can't be read: {error}.") from None


def plain(name: str) -> str:
    """A column's name without what spelling may add to it."""
    return name.strip().strip("\ufeff").casefold().replace(" ", "_").replace("-", "_")


def misfit(
    name: str, header: Sequence[str], columns: Columns, encoding: str, separator: str
) -> str:
    """A sentence about a table whose columns are not those of a table of captions."""
    if not header or header == [""]:
        return f"{name} is empty; it must begin with a line of columns: file_name,caption."
    shown = ", ".join(f"{_printable(cell):.40}" for cell in header[:8])
    shown += ", …" if len(header) > 8 else ""
    if any("\0" in cell for cell in header):
        encoded = separator.join(header).encode("utf-8", "surrogateescape")
        why = not_decodable(encoded[: len(encoded) // 2 * 2], columns.encoding)
        return f"{name} can't be read: {why}."
    if any(os.path.splitext(cell.strip())[1].lower() in IMAGE_SUFFIXES for cell in header):
        return (
            f"{name} must begin with a line of columns, such as file_name{separator}caption; its "
            f"first line is {shown}."
        )
    how = f", separated by {SEPARATORS.get(separator, repr(separator))}" if separator else ""
    number = "each" if columns.caption else "one"
    return (
        f"{name} ({encoding}{how}) has the columns {shown}; it needs one of "
        f"{', '.join(columns.file_keys)} for the image's name and {number} of "
        f"{', '.join(columns.caption_keys)} for its caption (image_column and caption_column name "
        "others)."
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
