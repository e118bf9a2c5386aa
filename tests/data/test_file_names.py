import os
import unicodedata

import pytest

from tests.data.pictures import captions, read, write

COMPOSED = unicodedata.normalize("NFC", "é")
DECOMPOSED = unicodedata.normalize("NFD", "é")


def skipped(root, **options):
    return read(root, **options).report.skipped


@pytest.mark.parametrize(
    ("on_disk", "spelled"),
    [
        ("a.png", "./a.png"),
        ("a.png", "././a.png"),
        ("a.png", "sub/../a.png"),
        ("a.png", ".//a.png"),
        ("sub/a.png", "sub//a.png"),
        ("sub/a.png", "sub/./a.png"),
        ("sub/a.png", "./sub/a.png"),
        ("sub/a.png", "sub\\a.png"),
        ("sub/a.png", ".\\sub\\a.png"),
        ("sub/a.png", "sub\\\\a.png"),
        ("sub/deep/a.png", "sub\\deep/a.png"),
        ("a.png", "A.PNG"),
        ("A.PNG", "a.png"),
        ("sub/a.png", "SUB/A.png"),
        ("Sub/a.png", "sub\\A.PNG"),
        (f"{COMPOSED}.png", f"{DECOMPOSED}.png"),
        (f"{DECOMPOSED}.png", f"{COMPOSED}.png"),
        (f"{DECOMPOSED}/a.png", f"{COMPOSED.upper()}/a.png"),
        ("straße.png", "STRASSE.png"),
        ("a.png", " a.png"),
        ("a.png", "a.png "),
        ("a.png", "./A.png\t"),
        ("a.png", "a.png/"),
        ("a b.png", "a b.png"),
        (" a.png", " a.png"),
        ("a\\b.png", "a\\b.png"),
        ("a\nb.png", "a\nb.png"),
        ("红.png", "红.png"),
    ],
)
def test_a_name_is_found_however_it_is_spelled(tmp_path, on_disk, spelled):
    write(tmp_path, {on_disk: 1, "other.png": 2, "sub/other.png": 3})
    write(tmp_path, {"metadata.jsonl": [{"file_name": spelled, "text": "red"}]})
    assert captions(tmp_path) == {on_disk: ("red",)}


@pytest.mark.parametrize("spelling", ["{}/a.png", "{}//sub/../a.png", "{}/./A.png"])
def test_absolute_names_inside_the_folder(tmp_path, spelling):
    root = write(tmp_path / "data", {"a.png": 1, "sub/b.png": 2})
    os.symlink(root, tmp_path / "link")
    for place in (root, tmp_path / "link"):
        rows = [{"file_name": spelling.format(place), "text": "red"}]
        write(root, {"metadata.jsonl": rows})
        assert captions(place) == captions(root) == {"a.png": ("red",)}


@pytest.mark.parametrize(
    ("files", "spelled"),
    [
        (["a.png", "A.png"], "a.PNG"),
        (["sub/a.png", "Sub/a.png"], "SUB/a.png"),
        (["sub/a.png", "Sub/a.png"], "SUB\\a.png"),
        ([f"{COMPOSED}.png", f"{DECOMPOSED}.png"], f"{COMPOSED.upper()}.png"),
        (["a.png ", "a.png"], "A.png"),
    ],
)
def test_of_two_files_none_is_guessed(tmp_path, files, spelled):
    write(tmp_path, {name: number for number, name in enumerate(files)})
    write(tmp_path, {"metadata.jsonl": [{"file_name": spelled, "text": "red"}]})
    with pytest.raises(ValueError, match="1 skipped: ambiguous name"):
        read(tmp_path)
    exact = [{"file_name": name, "text": name} for name in files]
    write(tmp_path, {"metadata.jsonl": [{"file_name": spelled, "text": "red"}, *exact]})
    assert captions(tmp_path) == {name: (name.strip(),) for name in files}
    assert skipped(tmp_path) == {"ambiguous name": [spelled]}


@pytest.mark.parametrize(
    "spelled",
    [
        *("b.png", "sub/a.png", "a", "a.jpg", "a%2Epng", "C:\\data\\a.png", "\0", "a.png\0"),
        *("x" * 999, "http://example.org/a.png", "~/a.png", "*.png", "sub", "."),
    ],
)
def test_a_name_of_no_file_is_named(tmp_path, spelled):
    write(tmp_path, {"a.png": 1, "b.txt": "x", "sub/c.png": 2, "sub/c.txt": "c"})
    rows = [{"file_name": spelled, "text": "no"}, {"file_name": "a.png", "text": "red"}]
    write(tmp_path, {"metadata.jsonl": rows})
    assert captions(tmp_path)["a.png"] == ("red",)
    assert skipped(tmp_path)["no image"] == [spelled]


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.png", "/etc/passwd", "sub/../../secret.png", "..", "sub/../.."),
        *("..\\secret.png", "sub\\..\\..\\secret.png", "{}/../secret.png", "{}x/a.png", "/"),
        *("link/../../../secret.png", "./../secret.png", "//etc/passwd", "out/../secret.png"),
    ],
)
def test_names_cannot_leave_the_folder(tmp_path, name):
    write(tmp_path, {"secret.png": 9, "outside/b.png": 8, "datax/a.png": 7})
    root = write(tmp_path / "data", {"a.png": 1, "sub/deep/c.png": 2})
    os.symlink("sub/deep", root / "link")
    os.symlink(tmp_path / "outside", root / "out")
    write(root, {"metadata.jsonl": [{"file_name": name.format(root), "text": "x"}]})
    with pytest.raises(ValueError, match="leads out of the folder"):
        read(root)


def test_behind_a_link_two_dots_are_the_folder_above_its_target(tmp_path):
    write(tmp_path, {"a.png": 1, "sub/a.png": 2, "sub/deep/b.png": 3})
    os.symlink("sub/deep", tmp_path / "link")
    write(tmp_path, {"metadata.jsonl": [{"file_name": "link/../a.png", "text": "two"}]})
    assert captions(tmp_path) == {"sub/a.png": ("two",)}


@pytest.mark.parametrize("name", [".hidden/a.png", ".a.png", "__MACOSX/a.png", "sub/._a.png"])
def test_hidden_files_and_those_of_systems_are_never_data(tmp_path, name):
    write(tmp_path, {name: 1, "b.png": 2})
    rows = [{"file_name": file, "text": "x"} for file in (name, "b.png")]
    write(tmp_path, {"metadata.jsonl": rows})
    assert captions(tmp_path) == {"b.png": ("x",)}
    ((reason, names),) = skipped(tmp_path).items()
    assert reason.endswith(", which is never data") and names == [name]


def test_all_spellings_of_a_file_are_one_item_with_all_captions_in_order(tmp_path):
    write(tmp_path, {"sub/a.png": 1, "b.png": 2})
    spellings = ["./sub/a.png", "sub/a.png", "sub\\a.png", "SUB/A.png", f"{tmp_path}/sub/a.png"]
    rows = [{"file_name": name, "text": str(i)} for i, name in enumerate(spellings)]
    rows += [{"file_name": "sub//a.png", "text": "1"}, {"file_name": "b.png", "text": "b"}]
    write(tmp_path, {"metadata.jsonl": rows})
    assert captions(tmp_path) == {"b.png": ("b",), "sub/a.png": ("0", "1", "2", "3", "4")}
