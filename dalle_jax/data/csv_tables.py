"""Tables of text with separators: what separates the columns, and which of them are wanted."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from dalle_jax.data.csv_rows import SEPARATORS, csv_rows, split_line
from dalle_jax.data.table_rows import (
    FILE_KEYS,
    UNREADABLE_CAPTION,
    Columns,
    Row,
    misfit,
    plain,
    row_of,
)
from dalle_jax.data.text import CAPTION_KEYS, marked_encoding, not_decodable


def read_csv(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """The rows of a table `name` of comma- or otherwise separated values.

    Raises:
        ValueError: its first line names no column of files or none of captions.
    """
    start = file.read(4)
    file.seek(0)
    mark, encoding = marked_encoding(start, columns.encoding)
    file.seek(mark)
    # Bytes that are not of the encoding become lone surrogates, by which their row is found.
    lines = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    try:
        header, separator, num_lines = _header(lines, name)
        names = [plain(cell) for cell in header]
        wanted = {
            "file": _find_columns(names, columns.file_keys),
            "caption": _find_columns(names, columns.caption_keys),
        }
        lacking = columns.caption and len(wanted["caption"]) < len(columns.caption_keys)
        if not wanted["file"] or not wanted["caption"] or lacking:
            raise ValueError(misfit(name, header, columns, encoding.upper(), separator))
        at = names.index(wanted["file"][0])
        for place, fields, problem in csv_rows(lines, separator, len(header), at == 0):
            raw = separator.join(fields)
            if problem is None and not raw.isascii() and _escaped(raw):
                encoded = raw.encode(encoding, "surrogateescape")
                problem = f"{UNREADABLE_CAPTION}: {not_decodable(encoded, encoding)}"
            place += num_lines
            if problem is not None:
                sure = at == 0 or len(fields) == len(names)  # Other cells may have moved.
                file = fields[at].strip(' "') if sure and at < len(fields) else None
                yield Row(place, file, problem=problem)
                continue
            record: dict[str, Any] = {}
            for column, cell in zip(names, fields):
                record[column] = [*record[column], cell] if column in record else [cell]
            yield row_of(place, record, wanted["file"][:1], wanted["caption"], columns)
    except UnicodeError:
        raise ValueError(f"{name} can't be read: {not_decodable(start, encoding)}.") from None
    finally:
        lines.detach()


def _header(lines: Iterator[str], name: str) -> tuple[list[str], str, int]:
    """The cells of the first line that is not blank, what separates them, and its number."""
    number, line = next(
        ((n, line) for n, line in enumerate(lines, 1) if line.strip("\ufeff \t\r\n")), (0, "")
    )
    line = line.strip("\ufeff\r\n")
    if line.lower().startswith("sep=") and len(line) == 5:  # Excel states it so.
        return split_line(next(lines, "").rstrip("\r\n"), line[4]), line[4], number + 1
    known = {*FILE_KEYS, *CAPTION_KEYS}
    likely = "\t" if name.lower().endswith(".tsv") else ","

    def fit(separator: str) -> tuple[int, bool, int]:
        cells = [plain(cell) for cell in split_line(line, separator)]
        return sum(cell in known for cell in cells), separator == likely, len(cells)

    separator = max(SEPARATORS, key=fit)
    if fit(separator)[0] == 0:
        separator = likely if likely in line else max(SEPARATORS, key=line.count)
    return split_line(line, separator), separator, number


def _find_columns(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [plain for plain in map(plain, wanted) if plain in names]


def _escaped(text: str) -> bool:
    """Whether a text has bytes that are no characters of its file's encoding."""
    return any("\udc80" <= character <= "\udcff" for character in text)
