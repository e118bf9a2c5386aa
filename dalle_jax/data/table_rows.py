"""Rows of tables that give images their captions, and how their columns are found."""

from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple

from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.splits import split_of
from dalle_jax.data.text import UNREADABLE_CAPTION, columns_of_record, decode_text, not_decodable
from dalle_jax.data.walk import suffix_of

SPLIT_KEY = "split"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

UNREADABLE_ROW = "unreadable row"
NO_FILE_NAME = "row without file name"


class Row(NamedTuple):
    """A row of a table."""

    number: (
        int | str
    )  # of the line, or of the row from 1 on; in COCO's files the name of what it is
    file: str | None  # the image's name as it is spelled there, if known
    captions: Sequence[tuple[str, str]] = ()  # with the names of their columns
    problem: str | None = None  # why the row is bad
    split: str = ""  # train, validation or test, where the table says so
    other_split: bool = False  # whether it names another split
    anywhere: bool = False  # whether the image may lie in any folder below, if its name is unique
    folder: str = ""  # that the image lies in, if there is one of that name


class OtherForm(ValueError):
    """A JSON file that is named like a table of captions but is none."""


def find_columns(
    name: str, header: Sequence[str], options: ReadingOptions, form: str, separator: str = ""
) -> dict[str, str]:
    """The `plain` names of the columns to read, by the keys that rows have for them.

    First the likeliest column of file names, then all of captions, and the split. `form` says what
    the table is and `separator` what separates its columns, for the message.

    Raises:
        ValueError: there is no column of file names or none of captions.
    """
    there = {plain(column) for column in header}
    files = [key for key in options.file_keys if plain(key) in there]
    captions = [key for key in options.caption_keys if plain(key) in there]
    all_there = not options.caption_column or len(captions) == len(options.caption_keys)
    if not (files and captions and all_there):
        raise ValueError(misfit(name, header, options, form, separator))
    split = [SPLIT_KEY] if SPLIT_KEY in there else []
    return {key: plain(key) for key in (files[0], *captions, *split)}


def row_of(
    number: int, record: dict[str, Any], file_keys: Sequence[str], options: ReadingOptions
) -> Row:
    """The row of a record, in which a file name or a caption may be a list."""
    file = next((record[key] for key in file_keys if record.get(key) not in (None, "", [""])), None)
    if isinstance(file, list | tuple) and len(file) == 1:
        file = file[0]
    if isinstance(file, dict):  # Hugging Face's form of an image that is a file.
        file = file.get("path")
    if not isinstance(file, str) or not file.strip():
        return Row(number, None, problem=NO_FILE_NAME)
    captions = columns_of_record(record, options.caption_column)
    problem = UNREADABLE_CAPTION if captions is None else None
    return Row(number, file, captions or (), problem, *split_of(record.get(SPLIT_KEY)))


def whole_text(file: BinaryIO, name: str, options: ReadingOptions) -> str:
    """The text of a file that can't be read row by row; a ValueError if the encoding is wrong."""
    try:
        return decode_text(file.read(), options.encoding)
    except ValueError as error:
        raise ValueError(f"{name} can't be read: {error}") from None


def plain(name: str) -> str:
    """A column's name without what spelling may add to it."""
    return name.strip().strip("\ufeff").casefold().replace(" ", "_").replace("-", "_")


def misfit(
    name: str, header: Sequence[str], options: ReadingOptions, form: str, separator: str = ""
) -> str:
    """A sentence about a table whose columns are not those of a table of captions."""
    if not header or header == [""]:
        return f"{name} is empty; it must begin with a line of columns: file_name,caption"
    shown = ", ".join(f"{_printable(cell):.40}" for cell in header[:8])
    shown += ", …" if len(header) > 8 else ""
    if any("\0" in cell for cell in header):
        encoded = separator.join(header).encode("utf-8", "surrogateescape")
        why = not_decodable(encoded[: len(encoded) // 2 * 2], options.encoding)
        return f"{name} can't be read: {why}"
    if any(suffix_of(cell.strip()) in IMAGE_SUFFIXES for cell in header):
        return (
            f"{name} must begin with a line of columns, such as file_name{separator}caption; its "
            f"first line is {shown}"
        )
    how = f", separated by {SEPARATORS.get(separator, repr(separator))}" if separator else ""
    number = "each" if options.caption_column else "one"
    return (
        f"{name} ({form}{how}) has the columns {shown}; it needs one of "
        f"{', '.join(options.file_keys)} for the image's name and {number} of "
        f"{', '.join(options.caption_keys)} for its caption (image_column and caption_column name "
        "others)"
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
