"""Rows of tables that give images their captions: JSON lines, JSON, CSV, TSV and Parquet."""

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from dalle_jax.data.csv_tables import read_csv
from dalle_jax.data.json_tables import read_json, read_json_lines
from dalle_jax.data.table_rows import (
    SPLIT_KEY,
    UNREADABLE_CAPTION,
    Columns,
    Row,
    misfit,
    plain,
    row_of,
    whole_text,
)

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


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
        return read_json(whole_text(file, name, columns), name, columns)
    if suffix == ".jsonl":
        return read_json_lines(file, name, columns)
    return read_csv(file, name, columns)


def _read_parquet(file: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file, page_checksum_verification=True)
        names = table.schema_arrow.names
        known = {plain(column): column for column in reversed(names)}
        files = [known[key] for key in map(plain, columns.file_keys) if key in known][:1]
        captions = [key for key in columns.caption_keys if plain(key) in known]
        lacking = columns.caption and len(captions) < len(columns.caption_keys)
        if not files or not captions or lacking:
            raise ValueError(misfit(name, names, columns, "Parquet", ""))
        kind = table.schema_arrow.field(files[0]).type
        if pa.types.is_binary(kind) or (
            pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        ):
            raise ValueError(
                f"{name} holds the images themselves in the column {files[0]}; give it as "
                "parquet:PATH."
            )
        splits = [SPLIT_KEY] if SPLIT_KEY in known else []
        wanted = [*files, *(known[plain(key)] for key in (*captions, *splits))]
        place = 0
        for batch in table.iter_batches(8192, columns=[*dict.fromkeys(wanted)]):
            values = [_values_of(batch.column(column)) for column in wanted]
            for row in zip(*values):
                place += 1
                if any(isinstance(value, UnicodeError) for value in row):
                    yield Row(place, None, problem=f"{UNREADABLE_CAPTION}: not UTF-8")
                    continue
                record = dict(zip([files[0], *captions, *splits], row))
                yield row_of(place, record, files, captions, columns)
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
