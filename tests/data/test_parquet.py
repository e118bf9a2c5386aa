import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dalle_jax.data import parquet, parquet_table
from dalle_jax.data.files import find_files
from dalle_jax.data.parquet import ParquetSource
from dalle_jax.data.parquet_table import RowGroups, find_columns

from .http_server import serve
from .tars import png


def struct(value):
    return None if value is None else {"bytes": png(value), "path": f"{value}.png"}


def write(path, columns, row_group_size=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, **options)
    return path


def rows(first, last):
    """Images with captions that say their values."""
    numbers = range(first, last)
    return {"image": [struct(i) for i in numbers], "text": [str(i) for i in numbers]}


def read(spec, split="all", **options):
    """The captions of all good rows by id, and the report; each image is that of its captions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = ParquetSource(spec, split, **{"max_bad_share": 1.0, **options})
    items = [source[i] for i in range(len(source))]
    for item in items:
        if all(caption.isdigit() for caption in item["captions"]):
            assert item["captions"] == (str(item["image"][0, 0, 0]),)
    return {item["id"]: item["captions"] for item in items}, source.report


IMAGES = {
    "Hugging Face's structure": pa.array([struct(1), struct(2)]),
    "bytes": pa.array([png(1), png(2)]),
    "large bytes": pa.array([png(1), png(2)], pa.large_binary()),
    "binary view": pa.array([png(1), png(2)], pa.binary_view()),
    "bytes alone in a structure": pa.array([{"bytes": png(1)}, {"bytes": png(2)}]),
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
    found, report = read(write(tmp_path / "0.parquet", columns))
    assert found == {"0.parquet#0": ("1",), "0.parquet#1": ("2",)} and not report.skipped


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
    found, _ = read(str(tmp_path))
    assert [*found.values()] == [(str(i),) for i in range(14)]
    assert [*found][9:11] == ["a.parquet#9", "b.parquet#0"]
    assert read(f"{tmp_path}/{{a,b}}.parquet")[0] == found == read(f"{tmp_path}/*.parquet")[0]


def test_only_the_row_group_of_an_item_is_decoded(tmp_path, monkeypatch):
    write(tmp_path / "a.parquet", rows(0, 40), 4)
    read(str(tmp_path))
    decoded = []
    own = RowGroups._decode
    monkeypatch.setattr(
        RowGroups, "_decode", lambda self, *key: decoded.append(key) or own(self, *key)
    )
    source = ParquetSource(tmp_path, "all")
    assert not decoded
    for i in (38, 39, 5, 36, 4):
        assert source[i]["caption"] == str(i)
    assert decoded == [(0, 9), (0, 1)]


def test_the_row_groups_that_are_kept_are_bounded(tmp_path):
    write(tmp_path / "a.parquet", rows(0, 40), 4)
    columns = find_columns(pq.read_schema(tmp_path / "a.parquet"), "a")
    groups = RowGroups(find_files(tmp_path, ".parquet"), [columns], limit=1000)
    for i in [*range(40), *range(40)]:
        assert groups.row(0, i // 4, i % 4)[1] == {"text": str(i)}
        assert groups._bytes <= 1000 or len(groups._groups) == 1


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"image": [None], "text": ["x"]}, "no image embedded"),
        ({"image": [{"bytes": None, "path": "x"}], "text": ["x"]}, "no image embedded"),
        (
            {"image": [{"bytes": b"", "path": "x"}], "text": ["x"]},
            "unreadable image: an empty file",
        ),
        ({"image": [{"bytes": png()[:-30], "path": "x"}], "text": ["x"]}, "unreadable image"),
        ({"image": [struct(3)], "text": [None]}, "image without caption"),
        ({"image": [struct(3)], "text": [" \n"]}, "empty caption"),
        ({"image": [struct(3)], "text": ["\u200b"]}, "empty caption"),
    ],
)
def test_bad_rows_are_skipped_and_named(tmp_path, columns, reason):
    good = rows(5, 6)
    kind = pa.table(good).schema
    table = pa.concat_tables([pa.table(columns, kind), pa.table(good)])
    pq.write_table(table, tmp_path / "0.parquet")
    found, report = read(tmp_path)
    assert found == {"0.parquet#1": ("5",)} and report.skipped == {reason: ["0.parquet#0"]}
    with pytest.raises(ValueError, match="1 of 2 items used"):
        read(tmp_path, max_bad_share=0.01)


def test_text_that_is_not_utf8_is_named(tmp_path):
    texts = pa.array([b"\xe4", b"5"]).view(pa.string())
    path = write(tmp_path / "0.parquet", {"image": [struct(4), struct(5)], "text": texts})
    found, report = read(path)
    assert found == {"0.parquet#1": ("5",)}
    assert report.skipped == {"unreadable caption: not UTF-8": ["0.parquet#0"]}


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


def cut(content):
    return content[: len(content) // 2]


def torn_page(content):
    return content[:300] + bytes(200) + content[500:]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "unreadable file"),
        (lambda _: b"", "unreadable file"),
        (lambda _: b"PAR1" * 9, "unreadable file"),
        (lambda _: b"<html>", "unreadable file"),
        (torn_page, "unreadable row group"),
    ],
)
def test_a_torn_file_is_named_and_the_others_are_read(tmp_path, damage, reason):
    write(tmp_path / "a.parquet", rows(0, 3))
    torn = write(tmp_path / "b.parquet", rows(3, 9), compression="snappy")
    torn.write_bytes(damage(torn.read_bytes()))
    found, report = read(tmp_path)
    assert [*found.values()] == [("0",), ("1",), ("2",)]
    assert all(why.startswith(reason) and "\n" not in why for why in report.skipped)
    assert all(name.startswith("b.parquet") for names in report.skipped.values() for name in names)


def test_columns_with_a_line_end_in_their_name_make_no_second_line(tmp_path):
    for columns in ({"a\nb": [1]}, {"a\n": [struct(1)], "b": [struct(1)], "text": ["x"]}):
        with pytest.raises(ValueError, match=r"'a\\n") as error:
            read(write(tmp_path / "0.parquet", columns))
        assert "\n" not in str(error.value)


def split_of(folder, name, **options):
    shares = {"validation_share": 0.3, "test_share": 0.3}
    return {caption for (caption,) in read(folder, name, **shares, **options)[0].values()}


def test_an_item_stays_in_its_split_whatever_the_order_and_the_names(tmp_path):
    write(tmp_path / "a" / "0.parquet", rows(0, 60), 7)
    train, test = (split_of(tmp_path / "a", name) for name in ("train", "test"))
    assert len(test) > 5 and not train & test
    table = pa.table(rows(0, 60))
    order = np.random.default_rng(0).permutation(60)
    more = pa.concat_tables([pa.table(rows(60, 90)), table.take(order[:30])])
    (tmp_path / "b").mkdir()
    pq.write_table(more, tmp_path / "b" / "other.parquet", row_group_size=11)
    pq.write_table(table.take(order[30:]), tmp_path / "b" / "more.parquet")
    assert train <= split_of(tmp_path / "b", "train") and test <= split_of(tmp_path / "b", "test")


def test_rows_of_one_image_are_in_one_split(tmp_path):
    columns = {"image": [struct(i % 10) for i in range(40)], "text": [f"c{i}" for i in range(40)]}
    write(tmp_path / "0.parquet", columns)
    parts = [split_of(tmp_path, name) for name in ("train", "validation", "test")]
    images = [{int(caption[1:]) % 10 for caption in part} for part in parts]
    assert sum(map(len, parts)) == 40 and sum(map(len, images)) == 10


def in_splits(spec, **options):
    """The captions of each split by its name, sorted; "" where it is not there."""
    found = {}
    for split in ("train", "validation", "test"):
        try:
            found[split] = " ".join(sorted(texts[0] for texts in read(spec, split)[0].values()))
        except ValueError as error:
            assert "has no" in str(error) and "split; it has" in str(error)
            found[split] = ""
    return found


def with_splits(first, last, cells):
    """Rows whose column `split` holds the cells, over and over."""
    cells = [cells[i % len(cells)] for i in range(last - first)]
    return {**rows(first, last), "split": cells}


@pytest.mark.parametrize("name", ["split", "Split", " SPLIT"])
@pytest.mark.parametrize(
    "cells",
    [
        ("train", "train", "test", "validation"),
        ("Training", "TRAIN ", "testing", "val"),
        (["train"], ["train"], ["test"], ["dev"]),
    ],
)
def test_a_column_split_says_the_splits(tmp_path, name, cells):
    columns = with_splits(0, 8, cells)
    columns[name] = columns.pop("split")
    write(tmp_path / "0.parquet", columns, 3)
    for _ in range(2):  # Again, from the report and the index.
        found = in_splits(tmp_path)
        assert found == {"train": "0 1 4 5", "test": "2 6", "validation": "3 7"}
    for index in tmp_path.glob("index-*.npz"):
        index.unlink()
    assert in_splits(tmp_path) == found
    report = read(tmp_path)[1]
    assert "(its own train and validation and test)" in report.what and not report.noted


def test_categories_say_the_splits(tmp_path):
    cells = pa.array(["train", "test"] * 4).dictionary_encode()
    write(tmp_path / "0.parquet", {**rows(0, 8), "split": cells})
    assert in_splits(tmp_path)["test"] == "1 3 5 7"


def test_a_split_that_the_column_lacks_is_taken_out_of_train(tmp_path):
    write(tmp_path / "0.parquet", with_splits(0, 200, ("train", "train", "train", "test")))
    found = {name: {*texts.split()} for name, texts in in_splits(tmp_path).items()}
    assert found["test"] == {str(i) for i in range(3, 200, 4)}
    assert 2 < len(found["validation"]) < 20 and not found["validation"] & found["test"]
    assert len(found["train"]) + len(found["validation"]) == 150
    source = ParquetSource(tmp_path, "train")
    assert "validation taken out of train by a hash of each image" in source.report.what


def test_without_train_there_is_none(tmp_path):
    write(tmp_path / "0.parquet", with_splits(0, 4, ("test", "val")))
    assert in_splits(tmp_path) == {"train": "", "test": "0 2", "validation": "1 3"}
    assert ParquetSource(tmp_path, "test").splits == ("validation", "test")


@pytest.mark.parametrize("cell", ["holdout", "restval", 3, True])
def test_a_cell_that_names_no_split_is_noted_and_split_by_a_hash(tmp_path, cell):
    write(tmp_path / "other" / "0.parquet", with_splits(0, 60, (cell,)))
    write(tmp_path / "none" / "0.parquet", rows(0, 60))
    assert in_splits(tmp_path / "other") == in_splits(tmp_path / "none")
    ((note, ids),) = read(tmp_path / "other")[1].noted.items()
    assert "none of train, validation, test" in note and len(ids) == 60


@pytest.mark.parametrize("cell", [None, "", " "])
def test_rows_of_no_split_are_split_by_a_hash(tmp_path, cell):
    write(tmp_path / "0.parquet", with_splits(0, 200, (cell, "test")))
    write(tmp_path / "none" / "0.parquet", rows(0, 200))
    found, hashed = in_splits(tmp_path / "0.parquet"), in_splits(tmp_path / "none")
    own = {str(i) for i in range(1, 200, 2)}
    for name in ("train", "validation"):
        assert {*found[name].split()} == {*hashed[name].split()} - own
    assert {*found["test"].split()} == {*hashed["test"].split()} | own
    assert not read(tmp_path / "0.parquet")[1].noted


def test_rows_of_one_image_stay_in_one_split_whatever_the_column_says(tmp_path):
    columns = {"image": [struct(i % 4) for i in range(8)], "text": [str(i % 4) for i in range(8)]}
    write(tmp_path / "0.parquet", {**columns, "split": ["train"] * 4 + ["test", "train"] * 2})
    with pytest.warns(UserWarning, match="2 rows have the image of a row in another split"):
        ParquetSource(tmp_path)
    assert in_splits(tmp_path) == {"train": "1 1 3 3", "validation": "", "test": "0 0 2 2"}


def test_splits_are_part_of_the_signature(tmp_path):
    for name, columns in {
        "none": rows(0, 8),
        "empty": with_splits(0, 8, (None,)),
        "two": with_splits(0, 8, ("train", "test")),
        "others": with_splits(0, 8, ("test", "train")),
    }.items():
        write(tmp_path / name / "0.parquet", columns)
    none, empty, two, others = (
        ParquetSource(tmp_path / name, "all").signature
        for name in ("none", "empty", "two", "others")
    )
    assert none == empty and len({none, two, others}) == 3


def test_a_caption_may_be_in_a_column_of_that_name(tmp_path):
    columns = rows(0, 40)
    columns["split"] = columns.pop("text")
    found, report = read(write(tmp_path / "0.parquet", columns), caption_column="split")
    assert len(found) == 40 and not report.noted


def test_the_signature_is_that_of_images_and_captions(tmp_path):
    def signature(name, columns, size=None, **options):
        write(tmp_path / name / "0.parquet", columns, size)
        return ParquetSource(tmp_path / name, **options).signature

    first = signature("a", rows(0, 9))
    table = pa.table(rows(0, 9))
    assert signature("b", rows(0, 9), 2, cache_dir=tmp_path / "cache") == first
    assert signature("c", table.take([8, 7, 6, 5, 4, 3, 2, 1, 0])) == first
    assert signature("d", rows(0, 8)) != first
    assert signature("e", {**rows(0, 9), "text": ["x"] * 9}) != first


def test_files_are_read_by_url(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    contents = {}
    for name, part in {"a": rows(0, 30), "b": rows(30, 40)}.items():
        path = write(tmp_path / f"{name}.parquet", part, 7)
        contents[f"/d/{name}.parquet"] = path.read_bytes()
    with serve(contents) as server:
        assert len(read(f"{server.url}/d/{{a,b}}.parquet")[0]) == 40
        monkeypatch.setattr("dalle_jax.data.remote_server.FIRST_PAUSE", 0.001)
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
