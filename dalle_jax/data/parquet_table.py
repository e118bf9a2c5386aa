"""Rows of Parquet files with embedded images: which columns, and reading them by row group."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from dalle_jax.data.files import File, LocalFile
from dalle_jax.data.remote_server import RemoteError
from dalle_jax.data.table_rows import SPLIT_KEY, plain
from dalle_jax.data.text import CAPTION_KEYS, caption_columns
from dalle_jax.data.walk import printable
from dalle_jax.extras import needed_for

with needed_for("data in Parquet files", "parquet"):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
# Columns by which a table names images that lie elsewhere.
_FILE_NAMES = ("file_name", "filename", "image_path", "path", "file", "image", "url", "image_url")
CACHE_BYTES = 2**29
_HOLDERS = (  # types of lists of values, and of values that are stored once
    *(pa.ListType, pa.LargeListType, pa.FixedSizeListType, pa.ListViewType, pa.LargeListViewType),
    pa.DictionaryType,
)

# What pyarrow raises at files that are torn, hostile or of a kind that it does not read.
UNREADABLE_PARQUET = (pa.ArrowException, OSError, ValueError, TypeError)
UNREADABLE_PARQUET += (KeyError, IndexError, MemoryError)


class Columns(NamedTuple):
    """The columns of a file to read."""

    image: str
    leaf: str  # path of the encoded image in that column, such as "image.bytes"
    captions: tuple[str, ...]  # columns that may hold captions
    split: str = ""  # column of splits, if any


def find_columns(
    schema: pa.Schema, where: str, image_column: str = "", caption_column: str = ""
) -> Columns:
    """The image and caption columns of a file.

    An image is a binary column, or Hugging Face's structure with a binary field `bytes`. Captions
    are texts or lists of texts, in columns of the usual names or in the only column of that type.

    Raises:
        ValueError: there are none, or several and no name; the message lists the columns.
    """
    images = {field.name: path for field in schema if (path := _image_path(field))}
    captions = [field.name for field in schema if _is_text(field.type)]
    # Some writers store text without saying that it is text.
    captions += [key for key in CAPTION_KEYS if images.get(key) == key]
    images = {name: path for name, path in images.items() if name not in captions}
    there = ", ".join(printable(f"{field.name} ({_short(field.type)})") for field in schema)
    there = f"the columns of {where} are {there[:600] or 'none'}"
    if image_column:
        if image_column not in images:
            raise ValueError(f"image_column={image_column} names no column of images; {there}")
        images = {image_column: images[image_column]}
    elif len(images) > 1:
        name = next((name for name in IMAGE_NAMES if name in images), None)
        if name is None:
            raise ValueError(
                f"which of {', '.join(map(printable, images))} are the images? Give image_column; "
                f"{there}"
            )
        images = {name: images[name]}
    if not images:
        raise ValueError(_without_images(schema, where, there))
    wanted = caption_columns(caption_column)
    if missing := [name for name in wanted if name not in captions]:
        raise ValueError(f"caption_column={missing[0]} names no column of texts; {there}")
    if not wanted:
        wanted = [name for name in CAPTION_KEYS if name in captions] or captions
        if len(wanted) > 1 and wanted == captions and wanted[0] not in CAPTION_KEYS:
            raise ValueError(
                f"which of {', '.join(map(printable, wanted))} are the captions? Give "
                f"caption_column; {there}"
            )
    if not wanted:
        raise ValueError(f"there is no column of captions; {there}")
    image, leaf = next(iter(images.items()))
    taken = {image, *wanted}
    splits = [name for name in schema.names if plain(name) == SPLIT_KEY and name not in taken]
    return Columns(image, leaf, tuple(wanted), splits[0] if splits else "")


def _image_path(field: pa.Field) -> str | None:
    if _is_binary(field.type):
        return field.name
    if pa.types.is_struct(field.type):
        inner = field.type.get_field_index("bytes")
        if inner >= 0 and _is_binary(field.type.field(inner).type):
            return f"{field.name}.bytes"
    return None


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    checks = (types.is_binary, types.is_large_binary, types.is_binary_view)
    return any(check(kind) for check in (*checks, types.is_fixed_size_binary))


def _is_text(kind: pa.DataType) -> bool:
    if isinstance(kind, _HOLDERS):
        kind = kind.value_type
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 40 else text[:39] + "…"


def _without_images(schema: pa.Schema, where: str, there: str) -> str:
    named = next((name for name in _FILE_NAMES if name in schema.names), None)
    if named is None:
        return f"there is no column of images; {there}"
    hint = "img2dataset downloads them" if "url" in named else "a folder with them is folder:PATH"
    return f"the images are not in {where}, which only names them in {named}: {hint}; {there}"


class _Group(NamedTuple):
    """A row group: encoded images, and the columns of captions and splits by name."""

    images: list[bytes | None]
    cells: dict[str, list[Any]]
    num_bytes: int


class RowGroups:
    """Row groups of Parquet files, decoded on demand; the last `limit` bytes are cached."""

    def __init__(self, files: Sequence[File], columns: Sequence[Columns], limit: int = CACHE_BYTES):
        self._files, self._columns, self._limit = files, columns, limit
        self._about: dict[int, pq.FileMetaData] = {}
        self._groups: OrderedDict[tuple[int, int], _Group] = OrderedDict()
        self._locks: dict[tuple[int, int], threading.Lock] = {}
        self._lock = threading.Lock()
        self._bytes = 0

    def row(self, file: int, group: int, row: int) -> tuple[bytes | None, dict[str, Any], Any]:
        """The encoded image of a row or None, its columns of captions, and its cell of the split.

        Raises:
            ValueError: the row group can't be decoded, or a text is not UTF-8.
            OSError: the file can't be read.
        """
        images, cells, _ = self._group(file, group)
        if row >= len(images):
            raise ValueError("unreadable row group: it has fewer rows than its file claims")
        record = {name: values[row] for name, values in cells.items()}
        for value in record.values():
            if isinstance(value, UnicodeDecodeError):
                raise value
        split = record.pop(self._columns[file].split, None)
        return images[row], record, split

    def _group(self, file: int, group: int) -> _Group:
        key = (file, group)
        with self._lock:
            if key in self._groups:
                self._groups.move_to_end(key)
                return self._groups[key]
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:  # Of threads that want the same group, one decodes it.
            with self._lock:
                if key in self._groups:
                    return self._groups[key]
            decoded = self._decode(file, group)
            with self._lock:
                self._groups[key] = decoded
                self._bytes += decoded.num_bytes
                while self._bytes > self._limit and len(self._groups) > 1:
                    self._bytes -= self._groups.popitem(last=False)[1].num_bytes
        return decoded

    def _decode(self, file: int, group: int) -> _Group:
        image, leaf, captions, split = self._columns[file]
        names = [*captions, split] if split else [*captions]
        try:
            with open_parquet(self._files[file], self._about.get(file)) as opened:
                self._about[file] = opened.metadata
                table = opened.read_row_group(group, columns=[leaf, *names], use_threads=False)
            images = table.column(image)
            if pa.types.is_struct(images.type):
                images = pc.struct_field(images, "bytes")
            cells = {name: values_of(table.column(name)) for name in names}
            return _Group(images.to_pylist(), cells, table.nbytes)
        except UNREADABLE_PARQUET as error:
            raise_if_not_there(error)
            raise ValueError(f"unreadable row group: {first_line(error)}") from error


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column, each text that is not UTF-8 replaced by the error."""

    def value_of(scalar: pa.Scalar) -> Any:
        try:
            return scalar.as_py()
        except UnicodeDecodeError as error:
            return error

    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [value_of(scalar) for scalar in column]


def open_parquet(file: File, about: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """A Parquet file whose metadata `about` may already be known."""
    is_local = isinstance(file, LocalFile)
    return pq.ParquetFile(
        file.path if is_local else file.open(),
        metadata=about,
        pre_buffer=not is_local,
        page_checksum_verification=True,
    )


def raise_if_not_there(error: BaseException) -> None:
    """Raise an error of the disk or the connection, which says nothing of the file's content."""
    if isinstance(error, RemoteError) or (isinstance(error, OSError) and error.errno is not None):
        raise error


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
