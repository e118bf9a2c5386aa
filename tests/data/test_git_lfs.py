"""Data sets cloned without Git LFS, in which pointers lie in place of the files."""

import pytest

from dalle_jax.data.coco_manifest import make_coco_manifest
from dalle_jax.data.git_lfs import POINTER
from dalle_jax.data.parquet import ParquetSource
from dalle_jax.data.webdataset import WebDatasetSource
from tests.data import tars
from tests.data.pictures import read, write

BYTES = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12\n"


@pytest.mark.parametrize("name", ["a.png", "a.txt"])
def test_a_pointer_in_a_folder_is_named(tmp_path, name):
    root = write(tmp_path, {"a.png": 1, "a.txt": "x", "b.png": 2, "b.txt": "y", name: BYTES})
    source = read(root)
    assert [source[0]["id"]] == ["b.png"] and len(source) == 1
    ((reason, names),) = source.report.skipped.items()
    assert reason.endswith(POINTER) and names == ["a.png"]


@pytest.mark.parametrize(
    ("name", "load"),
    [
        *((name, read) for name in ("metadata.jsonl", "metadata.csv", "captions.json")),
        ("a.parquet", ParquetSource),
        ("captions_val2014.json", lambda root: make_coco_manifest(root / "captions_val2014.json")),
    ],
)
def test_a_pointer_in_place_of_a_table_is_an_error(tmp_path, name, load):
    write(tmp_path, {"a.png": 1, name: BYTES})
    with pytest.raises(ValueError, match=r"a pointer of Git LFS.*git lfs pull"):
        load(tmp_path)


def test_a_pointer_in_a_shard_is_named(tmp_path):
    members = [("0.png", tars.png()), ("0.txt", BYTES), *tars.pair("1", 1)]
    items, report = tars.found(WebDatasetSource, tars.write(tmp_path / "a.tar", members))
    assert items == {"a.tar/1": ("1",)} and "git lfs pull" in str(report)
