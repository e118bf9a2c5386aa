"""Rows of tables that give images their captions: JSON lines, JSON, CSV, TSV and Parquet."""

import itertools
from collections.abc import Iterator
from typing import BinaryIO

from dalle_jax.data.csv_tables import read_csv
from dalle_jax.data.json_tables import read_json, read_json_lines
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.table_rows import Row, find_columns, plain, row_of, whole_text
from dalle_jax.data.text import UNREADABLE_CAPTION
from dalle_jax.data.walk import suffix_of
from dalle_jax.extras import needed_for

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def read_table(file: BinaryIO, name: str, options: ReadingOptions) -> Iterator[Row]:
    """The rows of the table `name` in `file`, one by one.

    Raises:
        OtherForm: it is JSON of another form.
        ValueError: it can't be read, or lacks a column of file names or of captions.
    """
    suffix = suffix_of(name)
    if suffix == ".parquet":
        return _read_parquet(file, name, options)
    if suffix == ".json":
        return read_json(whole_text(file, name, options), name, options)
    if suffix == ".jsonl":
        return read_json_lines(file, name, options)
    return read_csv(file, name, options)


def _read_parquet(file: BinaryIO, name: str, options: ReadingOptions) -> Iterator[Row]:
    with needed_for(f"reading {name}", "parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    from dalle_jax.data.parquet_table import values_of

    try:
        table = pq.ParquetFile(file, page_checksum_verification=True)
        names = table.schema_arrow.names
        known = {plain(column): column for column in reversed(names)}
        wanted = find_columns(name, names, options, "Parquet")
        wanted = {key: known[column] for key, column in wanted.items()}
        file_key, file_column = next(iter(wanted.items()))
        kind = table.schema_arrow.field(file_column).type
        if pa.types.is_binary(kind) or (
            pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        ):
            raise ValueError(
                f"{name} holds the images themselves in the column {file_column}; give it as "
                "parquet:PATH"
            )
        batches = table.iter_batches(8192, columns=[*dict.fromkeys(wanted.values())])
        rows = (zip(*(values_of(b.column(name)) for name in wanted.values())) for b in batches)
        for number, row in enumerate(itertools.chain.from_iterable(rows), 1):
            if any(isinstance(value, UnicodeError) for value in row):
                yield Row(number, None, problem=f"{UNREADABLE_CAPTION}: not UTF-8")
            else:
                yield row_of(number, dict(zip(wanted, row)), [file_key], options)
    except (pa.ArrowException, OSError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{name} can't be read as Parquet: {text:.200}") from error
