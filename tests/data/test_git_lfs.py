"""Data sets cloned without Git LFS, in which pointers lie in place of the files."""

import tarfile

import pytest

from dalle_jax.data.coco import make_coco_manifest
from dalle_jax.data.git_lfs import POINTER
from dalle_jax.data.parquet import ParquetSource
from dalle_jax.data.webdataset import WebDatasetSource
from tests.data.pictures import read, write

BYTES = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12\n"


@pytest.mark.parametrize("name", ["a.png", "a.txt"])
def test_a_pointer_in_a_folder_is_named(tmp_path, name):
    root = write(tmp_path, {"a.png": 1, "a.txt": "x", "b.png": 2, "b.txt": "y", name: BYTES})
    source = read(root)
    assert [source[0]["id"]] == ["b.png"] and len(source) == 1
    ((reason, names),) = source.report.skipped.items()
    assert reason.endswith(POINTER) and names == ["a.png"]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv", "captions.json"])
def test_a_pointer_in_place_of_a_table_is_an_error(tmp_path, name):
    root = write(tmp_path, {"a.png": 1, name: BYTES})
    with pytest.raises(ValueError, match=f"{name} is a pointer of Git LFS"):
        read(root)


def test_a_pointer_in_place_of_a_parquet_file_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(BYTES)
    with pytest.raises(ValueError, match="git lfs pull"):
        ParquetSource(tmp_path)


def test_a_pointer_in_a_shard_is_named(tmp_path):
    write(tmp_path / "s", {"0.png": 1, "0.txt": BYTES, "1.png": 2, "1.txt": "y"})
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "s", ".")
    with pytest.warns(UserWarning, match="git lfs pull"):
        source = WebDatasetSource(tmp_path, "all", max_bad_share=0.5)
    assert [item["caption"] for item in map(source.__getitem__, range(len(source)))] == ["y"]


def test_a_pointer_in_place_of_cocos_captions_is_an_error(tmp_path):
    (tmp_path / "captions_val2014.json").write_bytes(BYTES)
    with pytest.raises(ValueError, match="git lfs pull"):
        make_coco_manifest(tmp_path / "captions_val2014.json")
