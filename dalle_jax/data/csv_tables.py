"""Tables of text with separators, read row by row: a quote that is never closed costs one row."""

import csv
import io
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.options import FILE_KEYS, ReadingOptions
from dalle_jax.data.table_rows import SEPARATORS, Row, find_columns, plain, row_of
from dalle_jax.data.text import CAPTION_KEYS, UNREADABLE_CAPTION, marked_encoding, not_decodable

# Python's own limit of 131,072 characters would refuse a long caption, which is only to be cut. A
# field beyond this one is no caption.
MAX_FIELD_CHARACTERS = 2**24
MAX_LINES = 1000  # of one row
MAX_LINES_IN_DOUBT = 20  # behind an unclosed quote: few captions have more

TOO_MANY = "row with more fields than columns (quote captions that hold the separator)"
TOO_FEW = "row with fewer fields than columns"
BAD_QUOTES = "row with a stray or unclosed quote"


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
        for number, fields, problem in _rows(lines, separator, len(header), at == 0):
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
        return _split_line(next(lines, "").rstrip("\r\n"), line[4]), line[4], number + 1
    known = {*FILE_KEYS, *CAPTION_KEYS}
    likely = "\t" if name.lower().endswith(".tsv") else ","

    def fit(separator: str) -> tuple[int, bool, int]:
        cells = [plain(cell) for cell in _split_line(line, separator)]
        return sum(cell in known for cell in cells), separator == likely, len(cells)

    separator = max(SEPARATORS, key=fit)
    if fit(separator)[0] == 0:
        separator = likely if likely in line else max(SEPARATORS, key=line.count)
    return _split_line(line, separator), separator, number


def _escaped(text: str) -> bool:
    """Whether a text has bytes that are no characters of its file's encoding."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _rows(
    lines: Iterator[str], separator: str, width: int, names_first: bool = True
) -> Iterator[tuple[int, list[str], str | None]]:
    """(line, fields, problem) of each row that is not blank; a problem says why it is bad.

    `line` counts from 1; the fields of a bad row are those that its first line seems to have. A row
    may go on over several lines inside quotes, but not over one that holds an image's name as a
    field: an unclosed quote would then swallow the captions of the following images. After a bad
    row, reading continues in the next line, or behind the lines that may belong to the bad row.

    Args:
        lines: of the table behind its header.
        separator: between fields.
        width: number of columns.
        names_first: whether the first column holds the images' names.
    """
    # The limit is the whole process's: it is only raised, which no other reader of tables minds.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    begins, holds = _image_patterns(separator)
    pending: deque[str] = deque()
    number = 0

    def take() -> str | None:
        return pending.popleft() if pending else next(lines, None)

    def row_lines(first: str, taken: list[str]) -> Iterator[str]:
        yield first
        if not names_first and first.count('"') % 2 and holds.search(first):
            return  # It ends in a name already: its quote is unclosed.
        while len(taken) < MAX_LINES and (line := take()) is not None:
            # In a table that begins with captions, the last line of one goes on with a name.
            of_next = names_first and begins.match(line)
            if of_next or (line.count('"') % 2 == 0 and holds.search(line)):
                pending.appendleft(line)
                return
            taken.append(line)
            yield line

    def num_in_doubt() -> int:
        """How many lines behind one whose quotes do not fit may be a part of its last field."""
        ahead = list(itertools.islice(iter(take, None), MAX_LINES_IN_DOUBT))
        pending.extendleft(reversed(ahead))
        rest = iter([line, *ahead])
        whole = _fields(rest, separator) is not None  # A row, apart from the names in its lines.
        found = len(ahead) - len([*rest]) if whole else 0
        if line.count('"') % 2 == 0:
            return found
        if names_first and not begins.match(line) and not any('"' in one for one in ahead):
            return len(ahead)  # A row of no image opens a quote: its caption may hold them all.
        return max(found, _num_in_doubt(ahead, separator))

    while (line := take()) is not None:
        number += 1
        if '"' not in line:
            fields = line.rstrip("\r\n").split(separator)
            if any(map(str.strip, fields)):  # Spreadsheets write separators for empty rows.
                yield _checked(number, fields, width)
            continue
        taken: list[str] = [line]
        fields = _fields(row_lines(line, taken), separator)
        if fields is None or len(fields) > width:
            again = _fields(iter(taken), separator, skipinitialspace=True)
            plain = line.rstrip("\r\n").split(separator)
            if again is not None and len(again) == width:
                fields = again
            elif fields is None or (separator == "\t" and len(plain) == width):
                pending.extendleft(reversed(taken[1:]))
                taken = [line]
                in_doubt = num_in_doubt()
                # Few writers of tabs quote anything.
                is_plain = separator == "\t" and len(plain) == width and not in_doubt
                fields = plain if is_plain else None
        if fields is None:
            for bad in (line, *(take() for _ in range(in_doubt))):
                yield number, bad.rstrip("\r\n").split(separator), BAD_QUOTES
                number += 1
            number -= 1
        else:
            if any(map(str.strip, fields)):
                yield _checked(number, fields, width)
            number += len(taken) - 1


def _num_in_doubt(lines: Sequence[str], separator: str) -> int:
    """How many lines behind a quote that seems unclosed may be a part of its field.

    They are if the first quote in them closes a field.
    """
    for count, line in enumerate(lines, 1):
        before, quote, behind = line.strip().replace('""', "").partition('"')
        if quote:
            opens = not before.strip() or before.rstrip(" ").endswith(separator)
            closes = not any(map(str.isalnum, behind.partition(separator)[0]))
            return count if closes and not opens else 0
    return 0


def _split_line(line: str, separator: str) -> list[str]:
    """The fields of one line, quotes and blanks after separators taken away."""
    fields = _fields(iter([line]), separator, skipinitialspace=True)
    return line.split(separator) if fields is None else fields


def _fields(lines: Iterator[str], separator: str, **settings: bool) -> list[str] | None:
    """The fields of the first row; None where its quotes do not fit."""
    try:
        return next(csv.reader(lines, delimiter=separator, strict=True, **settings), [])
    except csv.Error:
        return None


def _checked(number: int, fields: list[str], width: int) -> tuple[int, list[str], str | None]:
    # Spreadsheets end short rows in separators.
    while len(fields) > width and not fields[-1].strip():
        fields.pop()
    problem = TOO_MANY if len(fields) > width else TOO_FEW if len(fields) < width else None
    return number, fields, problem


def _image_patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Match a line whose first field is an image's name; find one that has such a field."""
    edge = re.escape(separator)
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES))
    name = rf'[^{edge}"\r\n]+(?:{suffixes})"*\s*(?:{edge}|$)'
    begins = re.compile(rf'[\s"{edge}]*{name}', re.IGNORECASE)
    return begins, re.compile(rf'(?:^|{edge})\s*"?{name}', re.IGNORECASE)
