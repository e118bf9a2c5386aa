import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dalle_jax.data import parquet, parquet_table
from dalle_jax.data.files import find_files
from dalle_jax.data.parquet import ParquetSource
from dalle_jax.data.parquet_table import RowGroups, find_columns
from tests.data.http_server import serve
from tests.data.tars import found, png


def struct(value):
    return None if value is None else {"bytes": png(value), "path": f"{value}.png"}


def write(path, columns, row_group_size=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, row_group_size=row_group_size, **options)
    return path


def rows(first, last):
    """Images with captions that say their values."""
    numbers = range(first, last)
    return {"image": [struct(i) for i in numbers], "text": [str(i) for i in numbers]}


def read(spec, split="all", **options):
    return found(ParquetSource, spec, split, **options)


IMAGES = {
    "Hugging Face's structure": pa.array([struct(1), struct(2)]),
    "bytes": pa.array([png(1), png(2)]),
    "large bytes": pa.array([png(1), png(2)], pa.large_binary()),
    "binary view": pa.array([png(1), png(2)], pa.binary_view()),
    "a structure of bytes only": pa.array([{"bytes": png(1)}, {"bytes": png(2)}]),
}
CAPTIONS = {
    "text": pa.array(["1", "2"]),
    "large text": pa.array(["1", "2"], pa.large_string()),
    "lists": pa.array([["1"], ["2"]]),
    "large lists": pa.array([["1"], ["2"]], pa.large_list(pa.string())),
    "categories": pa.array(["1", "2"]).dictionary_encode(),
    "bytes": pa.array([b"1", b"2"]),
    "string view": pa.array(["1", "2"], pa.string_view()),
    "fixed lists": pa.array([["1"], ["2"]], pa.list_(pa.string(), 1)),
}


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("captions", CAPTIONS.values(), ids=CAPTIONS)
def test_images_and_captions_are_found_by_type(tmp_path, images, captions):
    columns = {"id": [1, 2], "jpg": images, "caption": captions}
    items, report = read(write(tmp_path / "0.parquet", columns))
    assert items == {"0.parquet#0": ("1",), "0.parquet#1": ("2",)} and not report.skipped


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_compression_and_page_version_is_read(tmp_path, compression, version):
    options = {"compression": compression, "data_page_version": version}
    path = write(tmp_path / "0.parquet", rows(0, 20), 7, **options)
    assert len(read(path)[0]) == 20


def test_row_groups_and_files_are_read_in_order(tmp_path):
    write(tmp_path / "a.parquet", rows(0, 10), 3)
    write(tmp_path / "b.parquet", rows(10, 14), 1)
    write(tmp_path / "c.parquet", rows(0, 0))
    items, _ = read(str(tmp_path))
    assert [*items.values()] == [(str(i),) for i in range(14)]
    assert [*items][9:11] == ["a.parquet#9", "b.parquet#0"]
    assert read(f"{tmp_path}/{{a,b}}.parquet")[0] == items == read(f"{tmp_path}/*.parquet")[0]


@pytest.fixture
def loads(monkeypatch):
    """One entry for each time that a file is opened, which is done for one row group each."""
    calls = []

    def open_parquet(file, about=None):
        calls.append(file.name)
        return opened(file, about)

    opened = parquet_table.open_parquet
    monkeypatch.setattr(parquet_table, "open_parquet", open_parquet)
    return calls


def test_only_the_row_group_of_an_item_is_decoded(tmp_path, loads):
    write(tmp_path / "a.parquet", rows(0, 40), 4)
    read(tmp_path)
    loads.clear()
    source = ParquetSource(tmp_path, "all")
    assert not loads
    assert [source[i]["caption"] for i in (38, 39, 5, 36, 4)] == ["38", "39", "5", "36", "4"]
    assert len(loads) == 2


@pytest.mark.parametrize(("limit", "count"), [(1000, 20), (10**9, 10)])
def test_the_row_groups_in_memory_are_bounded(tmp_path, loads, limit, count):
    write(tmp_path / "a.parquet", rows(0, 40), 4)
    columns = find_columns(pq.read_schema(tmp_path / "a.parquet"), "a")
    groups = RowGroups(find_files(tmp_path, ".parquet"), [columns], limit)
    for i in [*range(40), *range(40)]:
        assert groups.row(0, i // 4, i % 4)[1] == {"text": str(i)}
    assert len(loads) == count


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"image": [None], "text": ["x"]}, "no image embedded"),
        ({"image": [{"bytes": None, "path": "x"}], "text": ["x"]}, "no image embedded"),
        (
            {"image": [{**struct(3), "bytes": b""}], "text": ["x"]},
            "unreadable image: an empty file",
        ),
        ({"image": [{**struct(3), "bytes": png()[:-30]}], "text": ["x"]}, "unreadable image"),
        ({"image": [struct(3)], "text": [None]}, "image without caption"),
        ({"image": [struct(3)], "text": [" \n"]}, "empty caption"),
        ({"image": [struct(3)], "text": ["\u200b"]}, "empty caption"),
        (
            {"image": [struct(3)], "text": pa.array([b"\xe4"]).view(pa.string())},
            "unreadable caption: not UTF-8",
        ),
    ],
)
def test_bad_rows_are_skipped_and_named(tmp_path, columns, reason):
    good = pa.table(rows(5, 6))
    pq.write_table(pa.concat_tables([pa.table(columns, good.schema), good]), tmp_path / "0.parquet")
    items, report = read(tmp_path)
    assert items == {"0.parquet#1": ("5",)} and report.skipped == {reason: ["0.parquet#0"]}


def test_bytes_that_are_captions_are_decoded_as_stated(tmp_path):
    columns = {"image": [struct(4), struct(5)], "caption": [b"\xe4", b"5"]}
    path = write(tmp_path / "0.parquet", columns)
    assert "state encoding=" in str(read(path)[1])
    assert read(path, encoding="cp1252")[0]["0.parquet#0"] == ("ä",)


def test_several_captions_and_the_first_column_that_holds_one(tmp_path):
    columns = {
        "image": [struct(i) for i in range(4)],
        "caption": ["a", "", None, " "],
        "text": ["b", "c", "d", None],
        "captions": [["e"], ["f"], [], ["g", "", "h"]],
        "url": ["u"] * 4,
    }
    path = write(tmp_path / "0.parquet", columns)
    assert [*read(path)[0].values()] == [("a",), ("c",), ("d",), ("g", "h")]
    assert [*read(path, caption_column="url")[0].values()] == [("u",)] * 4
    assert ("u", "b") in read(path, caption_column="url,text")[0].values()


IMAGE = [struct(1)]
NAMED = {
    "two of unusual names": ({"x": IMAGE, "y": IMAGE, "text": ["t"]}, {"image_column": "y"}),
    "one of a usual name": ({"x": IMAGE, "image": IMAGE, "text": ["t"]}, {}),
    "captions by type": ({"image": IMAGE, "prompt": ["t"], "n": [1]}, {}),
    "captions by name": ({"image": IMAGE, "a": ["x"], "b": ["t"]}, {"caption_column": "b"}),
    "img2dataset": ({"jpg": [png(1)], "caption": ["t"], "url": ["u"], "key": ["0"]}, {}),
    "a name with dots": ({"i.bytes": [png(1)], "a.b": ["t"]}, {}),
}


@pytest.mark.parametrize(("columns", "options"), NAMED.values(), ids=NAMED)
def test_columns_are_found_by_type_or_name(tmp_path, columns, options):
    path = write(tmp_path / "0.parquet", columns)
    assert read(path, **options)[0] == {"0.parquet#0": ("t",)}


UNCLEAR = {
    "no images": ({"n": [1], "text": ["t"]}, {}, r"no column of images; .* n \(int64\), text"),
    "only names": (
        {"file_name": ["a.png"], "text": ["t"]},
        {},
        r"only names them in file_name: a folder with them is folder:PATH",
    ),
    "only URLs": ({"url": ["u"], "caption": ["t"]}, {}, "in url: img2dataset downloads them"),
    "two columns of images": ({"x": IMAGE, "y": IMAGE, "text": ["t"]}, {}, "which of x, y are the"),
    "no captions": ({"image": IMAGE, "n": [1]}, {}, "no column of captions; the columns of"),
    "two columns of texts": ({"image": IMAGE, "a": ["x"], "b": ["t"]}, {}, "which of a, b are the"),
    "an unknown image": ({"image": IMAGE, "a": ["x"]}, {"image_column": "img"}, "=img names no"),
    "text as image": ({"image": IMAGE, "a": ["x"]}, {"image_column": "a"}, "=a names no column of"),
    "an unknown text": ({"image": IMAGE, "a": ["x"]}, {"caption_column": "b"}, "=b names no"),
    "a number as text": ({"image": IMAGE, "a": [1]}, {"caption_column": "a"}, "=a names no"),
}


@pytest.mark.parametrize(("columns", "options", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_is_unclear_is_a_sentence_with_the_columns(tmp_path, columns, options, message):
    path = write(tmp_path / "0.parquet", columns)
    with pytest.raises(ValueError, match=message) as error:
        ParquetSource(path, **options)
    assert all(name in str(error.value) for name in columns)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[: len(content) // 2], "unreadable file"),
        (lambda _: b"", "unreadable file"),
        (lambda _: b"PAR1" * 9, "unreadable file"),
        (lambda _: b"<html>", "unreadable file"),
        (lambda content: content[:300] + bytes(200) + content[500:], "unreadable row group"),
    ],
)
def test_a_torn_file_is_named_and_the_others_are_read(tmp_path, damage, reason):
    write(tmp_path / "a.parquet", rows(0, 3))
    torn = write(tmp_path / "b.parquet", rows(3, 9), compression="snappy")
    torn.write_bytes(damage(torn.read_bytes()))
    items, report = read(tmp_path)
    assert [*items.values()] == [("0",), ("1",), ("2",)]
    assert all(why.startswith(reason) and "\n" not in why for why in report.skipped)
    assert all(name.startswith("b.parquet") for names in report.skipped.values() for name in names)


@pytest.mark.parametrize(
    "columns", [{"a\nb": [1]}, {"a\n": [struct(1)], "b": [struct(1)], "text": ["x"]}]
)
def test_columns_with_a_line_end_in_their_name_make_no_second_line(tmp_path, columns):
    with pytest.raises(ValueError, match=r"'a\\n") as error:
        read(write(tmp_path / "0.parquet", columns))
    assert "\n" not in str(error.value)


def test_the_signature_is_that_of_images_and_captions(tmp_path):
    def signature(columns, size=None, **options):
        path = write(tmp_path / str(len([*tmp_path.iterdir()])) / "0.parquet", columns, size)
        return ParquetSource(path, **options).signature

    first = signature(rows(0, 9))
    assert signature(rows(0, 9), 2, cache_dir=tmp_path / "cache") == first
    assert signature(pa.table(rows(0, 9)).take([8, 7, 6, 5, 4, 3, 2, 1, 0])) == first
    assert len({first, signature(rows(0, 8)), signature({**rows(0, 9), "text": ["x"] * 9})}) == 3


@pytest.mark.usefixtures("url_cache")
def test_a_connection_that_breaks_is_an_error_and_no_torn_file(tmp_path):
    parts = {"a": rows(0, 30), "b": rows(30, 40)}
    paths = [write(tmp_path / f"{name}.parquet", part, 7) for name, part in parts.items()]
    with serve({f"/d/{path.name}": path.read_bytes() for path in paths}) as server:
        assert len(read(f"{server.url}/d/{{a,b}}.parquet")[0]) == 40
        server.failures = ["close"] * 99
        with pytest.raises(OSError, match=r"/d/a\.parquet could not be read after 5 tries"):
            ParquetSource(f"{server.url}/d/a.parquet")


def test_large_row_groups_are_a_warning(tmp_path, monkeypatch):
    write(tmp_path / "0.parquet", rows(0, 30), 15)
    monkeypatch.setattr(parquet, "CACHE_BYTES", 1000)
    monkeypatch.setattr(parquet, "LARGE_GROUP", 1000)
    with pytest.warns(UserWarning, match="row groups of about 100 images"):
        ParquetSource(tmp_path)


def test_a_file_that_claims_very_many_rows_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_ROWS_PER_BYTE", 0.001)
    write(tmp_path / "0.parquet", rows(0, 9))
    with pytest.raises(ValueError, match="more rows than it has bytes for"):
        read(tmp_path)


def test_a_row_that_its_group_lacks_is_a_sentence(tmp_path):
    path = write(tmp_path / "0.parquet", rows(0, 9))
    groups = RowGroups(find_files(path, ".parquet"), [find_columns(pq.read_schema(path), "0")])
    with pytest.raises(ValueError, match="fewer rows"):
        groups.row(0, 0, 9)
    assert parquet_table.first_line(ValueError("a\n b")) == "a b"
