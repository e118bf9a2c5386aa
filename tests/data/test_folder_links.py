import hashlib
import os
import shutil

import pytest

from tests.data.pictures import captions, png, read, splits, write


def link(target, name):
    name.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(target, name)


def test_a_link_inside_the_folder_is_the_item_of_its_target(tmp_path):
    write(tmp_path, {"a.png": 1, "a.txt": "red", "sub/b.txt": "crimson"})
    link("../a.png", tmp_path / "sub/b.png")
    link("sub", tmp_path / "linked")
    assert captions(tmp_path) == {"a.png": ("red", "crimson")}
    assert read(tmp_path).report.total == 1


def test_a_link_in_a_table_is_the_item_of_its_target(tmp_path):
    write(tmp_path, {"a.png": 1, "b.png": 2})
    link("a.png", tmp_path / "c.png")
    rows = [{"file_name": name, "text": name} for name in ("c.png", "b.png", "a.png")]
    write(tmp_path, {"metadata.jsonl": rows})
    assert captions(tmp_path) == {"a.png": ("c.png", "a.png"), "b.png": ("b.png",)}


def test_linked_folders_are_followed(tmp_path):
    write(tmp_path / "out", {"deep/a.png": 1, "deep/a.txt": "red"})
    root = write(tmp_path / "data", {"b.png": 2, "b.txt": "blue"})
    link(tmp_path / "out", root / "more")
    link(".", root / "circle")
    link(root, root / "self")
    assert captions(root) == {"b.png": ("blue",), "more/deep/a.png": ("red",)}


def cache(tmp_path, count, name="snapshot"):
    """A folder of links into a store of blobs, as Hugging Face's cache is."""
    snapshot, blobs = tmp_path / name, tmp_path / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        digest = hashlib.sha256(png(i)).hexdigest()
        (blobs / digest).write_bytes(png(i))
        link(f"../blobs/{digest}", snapshot / f"{i}.png")
    return snapshot


@pytest.mark.parametrize("table", ["metadata.jsonl", "captions.csv", None])
def test_a_folder_of_links_into_a_cache(tmp_path, table):
    root = cache(tmp_path, 5)
    content = "file_name,text\n" + "".join(f"{i}.png,no. {i}\n" for i in range(5))
    if table == "metadata.jsonl":
        content = [{"file_name": f"{i}.png", "text": f"no. {i}"} for i in range(5)]
    if table:
        write(tmp_path / "blobs", {"t": content})
        link("../blobs/t", root / table)
    for i in range(5 * (table is None)):
        write(tmp_path / "blobs", {f"text{i}": f"no. {i}"})
        link(f"../blobs/text{i}", root / f"{i}.txt")
    assert captions(root) == {f"{i}.png": (f"no. {i}",) for i in range(5)}
    assert not read(root).report.skipped


def test_a_file_outside_is_known_by_its_content(tmp_path):
    root = cache(tmp_path, 40)
    write(root, {f"{i}.txt": "x" for i in range(40)})
    before = splits(root)
    assert {*before.values()} == {"train", "validation", "test"}
    # Other names, another store, copies instead of links to one blob: the same items.
    other = cache(tmp_path / "elsewhere", 40, "other")
    for i in range(40):
        (other / f"{i}.png").rename(other / f"renamed{i}.png")
        copy = tmp_path / "elsewhere" / f"copy{i}"
        shutil.copy(other / f"renamed{i}.png", copy)
        link(copy, other / "sub" / f"again{i}.png")
        write(other, {f"renamed{i}.txt": "x", f"sub/again{i}.txt": "y"})
    assert splits(other) == before
    assert {*captions(other).values()} == {("x", "y")} and read(other).report.total == 40


def test_a_link_to_a_file_outside_that_may_not_be_read_is_named(tmp_path):
    root = cache(tmp_path, 1)
    write(root, {"0.txt": "x", "1.txt": "x"})
    write(tmp_path, {"torn": b"torn"})
    link("../torn", root / "1.png")
    link("../nothing", root / "2.png")
    report = read(root).report
    assert report.skipped == {"unreadable image": ["1.png"]}
    assert report.left_out == {"broken link": ["2.png"]}


def test_links_into_several_split_folders_are_one_item_in_the_last_of_them(tmp_path):
    write(tmp_path, {"train/a.png": 1, "train/a.txt": "red", "test/b.txt": "crimson"})
    write(tmp_path, {"train/c.png": 2, "train/c.txt": "blue"})
    link("../train/a.png", tmp_path / "test/b.png")
    assert captions(tmp_path, "test") == {"train/a.png": ("crimson", "red")}
    assert captions(tmp_path, "train", validation_share=0.0) == {"train/c.png": ("blue",)}
    ((note, names),) = read(tmp_path).report.noted.items()
    assert names == ["train/a.png"] and note.startswith("in several split folders")


def test_the_place_of_the_folder_does_not_matter(tmp_path):
    write(tmp_path / "a", {f"{i}.png": i for i in range(30)})
    write(tmp_path / "a", {f"{i}.txt": "x" for i in range(30)})
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    link(tmp_path / "a", tmp_path / "link")
    sources = [tmp_path / "a", tmp_path / "b" / "c", tmp_path / "link"]
    first, *others = [(splits(root), read(root).signature) for root in sources]
    assert all(other == first for other in others)
