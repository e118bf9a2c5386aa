"""Rows of tables that give images their captions: JSON lines, JSON, CSV, TSV and Parquet."""

import io
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from dalle_jax.data.csv_rows import SEPARATORS, csv_rows, split_line
from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.text import (
    CAPTION_KEYS,
    caption_columns,
    columns_of_record,
    decode_text,
    marked_encoding,
    not_decodable,
)

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
FILE_KEYS = ("file_name", "filename", "image", "image_path", "path", "file", "file_path")

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
    """

    place: int
    file: str | None
    captions: Sequence[tuple[str, str]] = ()
    problem: str | None = None
    split: str = ""


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


def read_table(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    """The rows of the table `name`, read from `file`, one by one.

    Raises:
        OtherForm: it is JSON of another form.
        ValueError: it can't be read, or lacks a column of file names or of captions.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".parquet":
        return _read_parquet(file, name, columns)
    if suffix == ".json":
        return _read_json(_whole_text(file, name, columns), name, columns)
    if suffix == ".jsonl":
        return _read_json_lines(file, name, columns)
    return _read_csv(file, name, columns)


def _read_csv(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    start = file.read(4)
    file.seek(0)
    mark, encoding = marked_encoding(start, columns.encoding)
    file.seek(mark)
    # Bytes that are not of the encoding become lone surrogates, by which their row is found.
    lines = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline="")
    try:
        header, separator, num_lines = _header(lines, name)
        names = [_plain(cell) for cell in header]
        wanted = {
            "file": _find_columns(names, columns.file_keys),
            "caption": _find_columns(names, columns.caption_keys),
        }
        if not wanted["file"] or not wanted["caption"]:
            raise ValueError(_misfit(name, header, columns, encoding.upper(), separator))
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
            yield _row_of(place, record, wanted["file"][:1], wanted["caption"], columns)
    except UnicodeError:
        raise ValueError(f"{name} can't be read: {not_decodable(start, encoding)}.") from None
    finally:
        lines.detach()


def _row_of(
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
    return Row(place, file, captions or (), problem)


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
        cells = [_plain(cell) for cell in split_line(line, separator)]
        return sum(cell in known for cell in cells), separator == likely, len(cells)

    separator = max(SEPARATORS, key=fit)
    if fit(separator)[0] == 0:
        separator = likely if likely in line else max(SEPARATORS, key=line.count)
    return split_line(line, separator), separator, number


def _plain(name: str) -> str:
    """A column's name without what spelling may add to it."""
    return name.strip().strip("\ufeff").casefold().replace(" ", "_").replace("-", "_")


def _find_columns(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    return [plain for plain in map(_plain, wanted) if plain in names]


def _escaped(text: str) -> bool:
    """Whether a text has bytes that are no characters of its file's encoding."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _misfit(
    name: str, header: Sequence[str], columns: Columns, encoding: str, separator: str
) -> str:
    """A sentence about a table whose columns are not those of a table of captions."""
    if not header or header == [""]:
        return f"{name} is empty; it must begin with a line of columns: file_name,caption."
    shown = ", ".join(f"{_printable(cell):.40}" for cell in header[:8])
    shown += ", …" if len(header) > 8 else ""
    if any("\0" in cell for cell in header):
        encoded = "".join(header).encode("utf-8", "surrogateescape")
        why = not_decodable(encoded[: len(encoded) // 2 * 2], columns.encoding)
        return f"{name} can't be read: {why}."
    if any(os.path.splitext(cell.strip())[1].lower() in IMAGE_SUFFIXES for cell in header):
        return (
            f"{name} must begin with a line of columns, such as file_name{separator}caption; its "
            f"first line is {shown}."
        )
    how = f", separated by {SEPARATORS.get(separator, repr(separator))}" if separator else ""
    return (
        f"{name} ({encoding}{how}) has the columns {shown}; it needs one of "
        f"{', '.join(columns.file_keys)} for the image's name and one of "
        f"{', '.join(columns.caption_keys)} for its caption (image_column and caption_column name "
        "others)."
    )


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _read_json_lines(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    start = file.read(4096)
    file.seek(0)
    mark, encoding = marked_encoding(start, columns.encoding)
    if encoding.startswith(("utf-16", "utf-32")):  # There a line feed is more than one byte.
        text = _whole_text(file, name, columns)
        file, encoding = io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8"
    elif start[mark:].lstrip().startswith(b"["):
        text = _whole_text(file, name, columns)
        file.seek(0)
        if _is_list_of_records(text):
            yield from _read_json(text, name, columns)
            return
    met: set[str] = set()
    count = 0
    for place, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            text = decode_text(line, encoding)
        except ValueError as error:
            yield Row(place, None, problem=f"{UNREADABLE_ROW}: {error}")
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            yield Row(place, None, problem=f"{UNREADABLE_ROW}: no JSON object")
            continue
        met.update(record)
        count += 1
        yield _row_of(place, record, columns.file_keys, columns.caption_keys, columns)
    _check_keys(name, met, count, columns)


def _check_keys(name: str, met: set[str], count: int, columns: Columns) -> None:
    """Raise a ValueError where no record has a file name, or none a caption."""
    if count and not (met & {*columns.file_keys} and met & {*columns.caption_keys}):
        raise ValueError(_misfit(name, sorted(met), columns, "JSON", ""))


def _read_json(text: str, name: str, columns: Columns) -> Iterator[Row]:
    try:
        document = json.loads(text, object_hook=_without_tokens)
    except RecursionError:
        raise OtherForm(f"{name} is JSON of too many levels.") from None
    except ValueError as error:
        rows = text.strip().splitlines()
        if len(rows) > 1 and rows[0].startswith("{") and rows[0].rstrip().endswith("}"):
            encoded = io.BytesIO(text.encode("utf-8", "surrogatepass"))
            yield from _read_json_lines(encoded, name, columns._replace(encoding="utf-8"))
            return
        raise ValueError(f"{name} is not JSON: {error}.") from None
    if isinstance(document, dict) and _is_karpathy(document.get("images")):
        yield from _read_karpathy(document["images"])
        return
    records = _records(document, columns)
    if records is None:
        raise OtherForm(
            f"{name} is JSON of another form than a list of records such as "
            '{"file_name": "a.png", "caption": "a red card"}, or an object of these by file name.'
        )
    met: set[str] = set()
    for place, record in enumerate(records, 1):
        if not isinstance(record, dict):
            yield Row(place, None, problem=f"{UNREADABLE_ROW}: no JSON object")
            continue
        met.update(record)
        yield _row_of(place, record, columns.file_keys, columns.caption_keys, columns)
    _check_keys(name, met, len(met), columns)


def _is_list_of_records(text: str) -> bool:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, list) and any(isinstance(record, dict) for record in document)


def _records(document: Any, columns: Columns) -> list[Any] | None:
    """The records of a JSON table; None where it has another form."""
    if isinstance(document, list):
        known = {*columns.file_keys}
        return document if any(isinstance(r, dict) and known & {*r} for r in document) else None
    if not isinstance(document, dict):
        return None
    lists = {key: _values(value) for key, value in document.items()}
    if any(lists.get(key) for key in columns.file_keys):  # Columns, as pandas writes them.
        lengths = {len(values) for values in lists.values() if values is not None}
        if len(lengths) != 1 or None in lists.values():
            return None
        return [dict(zip(lists, row)) for row in zip(*lists.values())]
    if document and all(os.path.splitext(key)[1].lower() in IMAGE_SUFFIXES for key in document):
        column = columns.file_keys[0]
        field = columns.caption_keys[0]
        return [
            {**(value if isinstance(value, dict) else {field: value}), column: key}
            for key, value in document.items()
        ]
    return None


def _values(value: Any) -> list[Any] | None:
    """The values of a column that is a list, or an object of row numbers."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(key.isdigit() for key in value):
        return [*value.values()]
    return None


def _without_tokens(record: dict[str, Any]) -> dict[str, Any]:
    """A sentence of Karpathy's files without its words, which take most of the memory."""
    if "raw" in record:
        record.pop("tokens", None)
    return record


def _is_karpathy(images: Any) -> bool:
    return (
        isinstance(images, list)
        and len(images) > 0
        and isinstance(images[0], dict)
        and "sentences" in images[0]
    )


def _read_karpathy(images: Sequence[Any]) -> Iterator[Row]:
    """Rows of Karpathy's splits of COCO and Flickr; `restval` is part of the training set."""
    splits = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
    for place, image in enumerate(images, 1):
        try:
            parts = (image.get("filepath"), image["filename"])
            file = "/".join(part for part in parts if part)
            texts = [sentence["raw"] for sentence in image["sentences"]]
            split = splits[image["split"]]
        except (KeyError, TypeError, AttributeError):
            yield Row(place, None, problem=f"{UNREADABLE_ROW}: not of Karpathy's form")
            continue
        captions = columns_of_record({"raw": texts}, "raw")
        problem = UNREADABLE_CAPTION if captions is None else None
        yield Row(place, file, captions or (), problem, split)


def _read_parquet(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        plain = {_plain(column): column for column in reversed(names)}
        files = [plain[key] for key in map(_plain, columns.file_keys) if key in plain][:1]
        captions = [key for key in columns.caption_keys if _plain(key) in plain]
        if not files or not captions:
            raise ValueError(_misfit(name, names, columns, "Parquet", ""))
        kind = table.schema_arrow.field(files[0]).type
        if pa.types.is_binary(kind) or (
            pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        ):
            raise ValueError(
                f"{name} holds the images themselves in the column {files[0]}; give it as "
                "parquet:PATH."
            )
        wanted = [*files, *(plain[_plain(key)] for key in captions)]
        place = 0
        for batch in table.iter_batches(8192, columns=[*dict.fromkeys(wanted)]):
            values = [_values_of(batch.column(column)) for column in wanted]
            for row in zip(*values):
                place += 1
                if any(isinstance(value, UnicodeError) for value in row):
                    yield Row(place, None, problem=f"{UNREADABLE_CAPTION}: not UTF-8")
                    continue
                record = dict(zip([files[0], *captions], row))
                yield _row_of(place, record, files, captions, columns)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{name} can't be read as Parquet: {text:.200}.") from error


def _values_of(column: Any) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value_of(scalar) for scalar in column]


def _value_of(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error


def _whole_text(file: BinaryIO, name: str, columns: Columns) -> str:
    try:
        return decode_text(file.read(), columns.encoding)
    except ValueError as error:
        raise ValueError(f"{name} can't be read: {error}.") from None
