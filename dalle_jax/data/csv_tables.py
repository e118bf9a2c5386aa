"""Tables of text with separators: what separates the columns, and which of them are wanted."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from dalle_jax.data.csv_rows import SEPARATORS, csv_rows, split_line
from dalle_jax.data.options import FILE_KEYS, ReadingOptions
from dalle_jax.data.table_rows import Row, find_columns, plain, row_of
from dalle_jax.data.text import CAPTION_KEYS, UNREADABLE_CAPTION, marked_encoding, not_decodable


def read_csv(file: BinaryIO, name: str, options: ReadingOptions) -> Iterator[Row]:
    """The rows of a table `name` of comma- or otherwise separated values.

    Raises:
        ValueError: its first line names no column of files or none of captions.
    """
    start = file.read(4)
    file.seek(0)
    mark, encoding = marked_encoding(start, options.encoding)
    file.seek(mark)
    # Bytes that are not of the encoding become lone surrogates, by which their row is found.
    lines = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    try:
        header, separator, num_lines = _header(lines, name)
        names = [plain(cell) for cell in header]
        wanted = find_columns(name, header, options, encoding.upper(), separator)
        cells = {
            key: [i for i, column in enumerate(names) if column == known]
            for key, known in wanted.items()
        }
        file_key = next(iter(wanted))
        at = cells[file_key][0]
        for number, fields, problem in csv_rows(lines, separator, len(header), at == 0):
            raw = separator.join(fields)
            if problem is None and not raw.isascii() and _escaped(raw):
                encoded = raw.encode(encoding, "surrogateescape")
                problem = f"{UNREADABLE_CAPTION}: {not_decodable(encoded, encoding)}"
            number += num_lines
            if problem is not None:
                sure = at == 0 or len(fields) == len(names)  # Other cells may have moved.
                file = fields[at].strip(' "') if sure and at < len(fields) else None
                yield Row(number, file, problem=problem)
                continue
            record = {key: [fields[i] for i in numbers] for key, numbers in cells.items()}
            yield row_of(number, record, [file_key], options)
    except UnicodeError:
        raise ValueError(f"{name} can't be read: {not_decodable(start, encoding)}") from None
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


def _escaped(text: str) -> bool:
    """Whether a text has bytes that are no characters of its file's encoding."""
    return any("\udc80" <= character <= "\udcff" for character in text)
