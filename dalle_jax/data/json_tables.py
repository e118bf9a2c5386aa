"""Tables of JSON: lines, records, an object by file name, Karpathy's splits, COCO's captions."""

import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

from dalle_jax.data.coco_manifest import CocoRows, other_kind
from dalle_jax.data.images import IMAGE_SUFFIXES
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.report import Report
from dalle_jax.data.splits import split_of
from dalle_jax.data.table_rows import UNREADABLE_ROW, OtherForm, Row, misfit, row_of, whole_text
from dalle_jax.data.text import (
    UNREADABLE_CAPTION,
    columns_of_record,
    decode_text,
    marked_encoding,
    parse_json,
    unique_fields,
)
from dalle_jax.data.walk import stem_of, suffix_of


def read_json_lines(file: BinaryIO, name: str, options: ReadingOptions) -> Iterator[Row]:
    """The rows of a table `name` with a record on each line, or with one list of records."""
    start = file.read(4096)
    file.seek(0)
    mark, encoding = marked_encoding(start, options.encoding)
    if encoding.startswith(("utf-16", "utf-32")):  # There a line feed is more than one byte.
        text = whole_text(file, name, options)
        file, encoding = io.BytesIO(text.encode("utf-8", "surrogatepass")), "utf-8"
    elif start[mark:].lstrip().startswith(b"["):
        text = whole_text(file, name, options)
        file.seek(0)
        if _is_list_of_records(text):
            yield from read_json(text, name, options)
            return

    def records() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, parse_json(decode_text(line, encoding))
                except ValueError as error:
                    yield number, error

    yield from _rows(records(), name, options)


def _is_list_of_records(text: str) -> bool:
    document = parse_json(text)
    return isinstance(document, list) and any(isinstance(record, dict) for record in document)


def _rows(records: Iterable[tuple[int, Any]], name: str, options: ReadingOptions) -> Iterator[Row]:
    """The rows of numbered records, some of which may be something else, or an error.

    Raises:
        ValueError: no record has a file name, or none has a caption.
    """
    met: set[str] = set()
    is_any_record = False
    for number, record in records:
        if not isinstance(record, dict):
            problem = record if isinstance(record, ValueError) else "no JSON object"
            yield Row(number, None, problem=f"{UNREADABLE_ROW}: {problem}")
            continue
        is_any_record = True
        met.update(record)
        yield row_of(number, record, options.file_keys, options)
    captions = {*options.caption_keys}
    there = captions <= met if options.caption_column else met & captions
    if is_any_record and not (met & {*options.file_keys} and there):
        raise ValueError(misfit(name, sorted(met), options, "JSON"))


def read_json(text: str, name: str, options: ReadingOptions) -> Iterator[Row]:
    """The rows of a table `name` that is one JSON document.

    Raises:
        OtherForm: it is JSON of another form than a table's.
        ValueError: it is not JSON, no record has a file name, or none has a caption.
    """
    try:
        document = json.loads(text, object_pairs_hook=_record)
    except RecursionError:
        raise OtherForm(f"{name} is JSON of too many levels") from None
    except ValueError as error:
        rows = text.strip().splitlines()
        if len(rows) > 1 and rows[0].startswith("{") and rows[0].rstrip().endswith("}"):
            encoded = io.BytesIO(text.encode("utf-8", "surrogatepass"))
            yield from read_json_lines(encoded, name, replace(options, encoding="utf-8"))
            return
        raise ValueError(f"{name} is not JSON: {error}") from None
    if isinstance(document, dict) and _is_karpathy(document.get("images")):
        yield from _read_karpathy(document["images"])
        return
    records = _records(document, options)
    if records is None and isinstance(document, dict) and {"images", "annotations"} <= {*document}:
        problem = other_kind(document)
        if problem or not document["annotations"]:
            problem = problem or "it has no annotations"
            raise OtherForm(f"{name} is of COCO's form, but not one of captions: {problem}")
        yield from _read_coco(document, name)
        return
    if records is None:
        raise OtherForm(
            f"{name} is JSON of another form than a list of records such as "
            '{"file_name": "a.png", "caption": "a red card"}, or an object of these by file name'
        )
    yield from _rows(enumerate(records, 1), name, options)


def _records(document: Any, options: ReadingOptions) -> list[Any] | None:
    """The records of a JSON table; None where it has another form."""
    if isinstance(document, list):
        known = {*options.file_keys}
        return document if any(isinstance(r, dict) and known & {*r} for r in document) else None
    if not isinstance(document, dict):
        return None
    cells = {key: _cells(value) for key, value in document.items()}
    if any(cells.get(key) for key in options.file_keys):  # Columns, as pandas writes them.
        rows = next(iter(cells.values()))
        if rows is None or any(
            cell is None or cell.keys() != rows.keys() for cell in cells.values()
        ):
            return None
        return [{key: cell[row] for key, cell in cells.items()} for row in rows]
    if document and all(suffix_of(key) in IMAGE_SUFFIXES for key in document):
        column, field = options.file_keys[0], options.caption_keys[0]
        return [
            {**(value if isinstance(value, dict) else {field: value}), column: key}
            for key, value in document.items()
        ]
    return None


def _cells(value: Any) -> dict[str, Any] | None:
    """The cells of a column by their rows, of a list or an object of row numbers."""
    if isinstance(value, list):
        return {str(number): cell for number, cell in enumerate(value)}
    if isinstance(value, dict) and value and all(key.isdigit() for key in value):
        return value
    return None


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any] | str:
    """`unique_fields`, without the words of Karpathy's sentences, which take most memory."""
    record = unique_fields(pairs)
    if isinstance(record, dict) and "raw" in record:
        record.pop("tokens", None)
    return record


def _is_karpathy(images: Any) -> bool:
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "sentences" in first


def _read_karpathy(images: Sequence[Any]) -> Iterator[Row]:
    """Rows of Karpathy's splits of COCO and Flickr; `restval` is part of the training set."""
    splits = {"train": "train", "restval": "train", "val": "validation", "test": "test"}
    for number, image in enumerate(images, 1):
        try:
            parts = (image.get("filepath"), image["filename"])
            file = "/".join(part for part in parts if part)
            texts = [sentence["raw"] for sentence in image["sentences"]]
            split = splits[image["split"]]
        except (KeyError, TypeError, AttributeError):
            yield Row(number, None, problem=f"{UNREADABLE_ROW}: not of Karpathy's form")
            continue
        captions = columns_of_record({"raw": texts}, "raw")
        problem = UNREADABLE_CAPTION if captions is None else None
        yield Row(number, file, captions or (), problem, split, anywhere=True)


def _read_coco(document: Mapping[str, list], name: str) -> Iterator[Row]:
    """Rows of COCO's annotation files of captions, as captions_train2017.json of train2017."""
    rows = CocoRows(Report(name), [document])
    stem = stem_of(os.path.basename(name))
    folder = stem.removeprefix("captions_") if stem.startswith("captions_") else ""
    split, _ = split_of(re.match("[A-Za-z]*", folder)[0])
    for number, (file, captions) in rows.images.items():
        texts = [(text, "caption") for _, text in sorted(captions.items())]
        number = f"image {number}"
        yield Row(number, file, texts, split=split, anywhere=True, folder=folder)
    for reason, names in rows.report.skipped.items():
        yield from (Row(number, None, problem=reason, anywhere=True) for number in names)
