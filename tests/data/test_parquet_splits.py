"""The splits of Parquet files: by a hash of each image, or as a column says."""

import numpy as np
import pyarrow as pa
import pytest

from dalle_jax.data.parquet import ParquetSource
from tests.data.pictures import SHARES
from tests.data.test_parquet import read, rows, struct, write


def split_of(folder, name):
    return {caption for (caption,) in read(folder, name, **SHARES)[0].values()}


def test_an_item_stays_in_its_split_whatever_the_order_and_the_names(tmp_path):
    write(tmp_path / "a" / "0.parquet", rows(0, 60), 7)
    train, test = (split_of(tmp_path / "a", name) for name in ("train", "test"))
    assert len(test) > 5 and not train & test
    table = pa.table(rows(0, 60)).take(np.random.default_rng(0).permutation(60))
    more = pa.concat_tables([pa.table(rows(60, 90)), table[:30]])
    write(tmp_path / "b" / "other.parquet", more, 11)
    write(tmp_path / "b" / "more.parquet", table[30:])
    assert train <= split_of(tmp_path / "b", "train") and test <= split_of(tmp_path / "b", "test")


def test_rows_of_one_image_are_in_one_split(tmp_path):
    columns = {"image": [struct(i % 10) for i in range(40)], "text": [f"c{i}" for i in range(40)]}
    write(tmp_path / "0.parquet", columns)
    parts = [split_of(tmp_path, name) for name in ("train", "validation", "test")]
    images = [{int(caption[1:]) % 10 for caption in part} for part in parts]
    assert sum(map(len, parts)) == 40 and sum(map(len, images)) == 10


def in_splits(spec):
    """The captions of each split by its name, sorted; "" where it is not there."""
    parts = {}
    for split in ("train", "validation", "test"):
        try:
            parts[split] = " ".join(sorted(texts[0] for texts in read(spec, split)[0].values()))
        except ValueError as error:
            assert "has no" in str(error) and "split; it has" in str(error)
            parts[split] = ""
    return parts


def with_splits(first, last, cells):
    """Rows whose column `split` holds the cells, over and over."""
    if isinstance(cells, pa.Array):
        cells = cells.take([i % len(cells) for i in range(last - first)])
    else:
        cells = [cells[i % len(cells)] for i in range(last - first)]
    return {**rows(first, last), "split": cells}


@pytest.mark.parametrize("name", ["split", "Split", " SPLIT"])
@pytest.mark.parametrize(
    "cells",
    [
        ("train", "train", "test", "validation"),
        ("Training", "TRAIN ", "testing", "val"),
        (["train"], ["train"], ["test"], ["dev"]),
        pa.array(["train", "train", "test", "dev"]).dictionary_encode(),
    ],
)
def test_a_column_split_says_the_splits(tmp_path, name, cells):
    columns = with_splits(0, 8, cells)
    columns[name] = columns.pop("split")
    write(tmp_path / "0.parquet", columns, 3)
    for repeated in range(3):
        if repeated == 2:  # no longer from the index
            next(tmp_path.glob("index-*.npz")).unlink()
        assert in_splits(tmp_path) == {"train": "0 1 4 5", "test": "2 6", "validation": "3 7"}
    report = read(tmp_path)[1]
    assert "(its own train and validation and test)" in report.what and not report.noted


def test_a_split_that_the_column_lacks_is_taken_out_of_train(tmp_path):
    write(tmp_path / "0.parquet", with_splits(0, 200, ("train", "train", "train", "test")))
    parts = {name: {*texts.split()} for name, texts in in_splits(tmp_path).items()}
    assert parts["test"] == {str(i) for i in range(3, 200, 4)}
    assert 2 < len(parts["validation"]) < 20 and not parts["validation"] & parts["test"]
    assert len(parts["train"]) + len(parts["validation"]) == 150
    what = read(tmp_path, "train")[1].what
    assert "validation taken out of train by a hash of each image" in what


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
    stated, hashed = (
        {name: {*texts.split()} for name, texts in in_splits(place).items()}
        for place in (tmp_path / "0.parquet", tmp_path / "none")
    )
    own = {str(i) for i in range(1, 200, 2)}
    assert all(stated[name] == hashed[name] - own for name in ("train", "validation"))
    assert stated["test"] == hashed["test"] | own
    assert not read(tmp_path / "0.parquet")[1].noted


def test_rows_of_one_image_stay_in_one_split_whatever_the_column_says(tmp_path):
    columns = {"image": [struct(i % 4) for i in range(8)], "text": [str(i % 4) for i in range(8)]}
    write(tmp_path / "0.parquet", {**columns, "split": ["train"] * 4 + ["test", "train"] * 2})
    with pytest.warns(UserWarning, match="2 rows have the image of a row in another split"):
        ParquetSource(tmp_path)
    assert in_splits(tmp_path) == {"train": "1 1 3 3", "validation": "", "test": "0 0 2 2"}


def test_splits_are_part_of_the_signature(tmp_path):
    def signature(columns):
        write(tmp_path / "0.parquet", columns)
        return ParquetSource(tmp_path, "all").signature

    none = signature(rows(0, 8))
    assert signature(with_splits(0, 8, (None,))) == none
    stated = [
        signature(with_splits(0, 8, cells)) for cells in (("train", "test"), ("test", "train"))
    ]
    assert len({none, *stated}) == 3


def test_a_caption_may_be_in_a_column_of_that_name(tmp_path):
    columns = rows(0, 40)
    columns["split"] = columns.pop("text")
    items, report = read(write(tmp_path / "0.parquet", columns), caption_column="split")
    assert len(items) == 40 and not report.noted
