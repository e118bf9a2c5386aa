"""Paths that are written to are refused at once where they can't be."""

import argparse
import os
from pathlib import Path

import pytest

from dalle_jax.cli.output_paths import OutputFile, output_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a file, a folder and, unless the user may do all, one that is locked."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o500)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("new.png", "new.png"),
        ("folder/new.png", "folder/new.png"),
        ("none/deep/new.png", "none/deep/new.png"),
        ("file", "file"),
        ("./folder/../new.png", "folder/../new.png"),
    ],
)
def test_a_file_that_can_be_written_is_taken(here, text, path):
    assert OutputFile()(text) == Path(path)
    assert OutputFile()("~/new.png") == here / "new.png"
    assert {one.name for one in here.iterdir()} == {"file", "folder", "locked"}  # nothing is made


@pytest.mark.parametrize(
    ("text", "suffixes", "sentence"),
    [
        ("folder", (), "is the folder folder; give a file"),
        ("folder/", (".npz",), "give a file such as folder/name.npz"),
        ("new/", (), "is the folder new/; give a file"),
        (".", (), "is the folder .; give a file"),
        ("file/new.png", (), "file is a file and not a folder"),
        ("file/deep/new.png", (), "file is a file and not a folder"),
        ("new.txt", (".npz",), "ends in .txt; it can end in .npz"),
        ("new", (".npz",), "ends in no suffix; it can end in .npz"),
        ("", (), "is empty; give a path"),
    ],
)
def test_a_file_that_can_not_be_written_is_refused(here, text, suffixes, sentence):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        OutputFile(suffixes)(text)
    assert sentence in str(error.value)


@pytest.mark.parametrize("text", ["folder", "new", "new/deep/", "."])
def test_a_folder_that_can_be_made_is_taken(here, text):
    assert output_folder(text) == Path(text)


@pytest.mark.parametrize("text", ["file", "file/deep"])
def test_a_folder_that_is_a_file_is_refused(here, text):
    with pytest.raises(argparse.ArgumentTypeError, match="file is a file and not a folder"):
        output_folder(text)


def test_what_may_not_be_written_to_is_refused(here, monkeypatch):
    allowed = lambda path, mode: Path(path).name not in ("locked", "file")
    monkeypatch.setattr(os, "access", allowed)
    for check, text in ((OutputFile(), "locked/a.png"), (output_folder, "locked/deep/er")):
        with pytest.raises(argparse.ArgumentTypeError, match="locked may not be written to"):
            check(text)
    with pytest.raises(argparse.ArgumentTypeError, match="a file that may not be written"):
        OutputFile()("file")
