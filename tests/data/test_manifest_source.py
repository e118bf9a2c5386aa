import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.manifest import Header, Manifest, Row, read_manifest, write_manifest
from dalle_jax.data.manifest_source import ManifestSource, make_manifest, open_manifest
from dalle_jax.data.open import open_source
from tests.data.pictures import write
from tests.data.tars import png


def items(count=6, start=0):
    return [
        {
            "id": f"item {i}",
            "image": np.full((4, 4, 3), i, np.uint8),
            "caption": f"number {i}",
            "captions": (f"number {i}", f"the {i}. of all"),
        }
        for i in range(start, start + count)
    ]


@pytest.mark.parametrize("rule", ["one", "all"])
def test_each_row_finds_its_image_and_its_caption(rule):
    manifest = make_manifest(items(), name="tfds:numbers", split="test", rule=rule, seed=5)
    assert len(manifest) == {"one": 6, "all": 12}[rule]
    source = ManifestSource(manifest, items())
    for i, row in enumerate(manifest.rows):
        number = source[i]["image"][0, 0, 0]
        assert source[i]["id"] == row.id and row.id.startswith(f"item {number}")
        assert source[i]["caption"] == row.caption and str(number) in row.caption
        assert "captions" not in source[i]
    assert len(source) == len(manifest)


def test_data_that_has_changed_is_named():
    manifest = make_manifest(items(), name="tfds:numbers", split="test")
    with pytest.raises(ValueError, match=r"row item .*, is 'number .'; there the data has item"):
        _ = [row for row in ManifestSource(manifest, items(start=1))]
    with pytest.raises(ValueError, match="image 5, but the data has only 5"):
        _ = [row for row in ManifestSource(manifest, items(5))]


def test_items_without_ids_are_numbered():
    plain = [{"image": item["image"], "caption": item["caption"]} for item in items()]
    manifest = make_manifest(plain, name="emoji", split="test")
    assert {row.id for row in manifest.rows} == {f"test/{i}" for i in range(6)}
    assert len([row for row in ManifestSource(manifest, plain)]) == 6


class Undecoded:
    """A source that gives captions without images."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        raise AssertionError("an image was decoded")

    def without_images(self):
        return [{"id": i["id"], "captions": i["captions"]} for i in items()]


def test_a_manifest_is_made_of_captions_only_where_a_source_gives_them():
    how = {"name": "tfds:numbers", "split": "test", "rule": "all"}
    assert make_manifest(Undecoded(), **how) == make_manifest(items(), **how)


@pytest.fixture
def folder(tmp_path):
    return write(
        tmp_path / "pictures",
        {f"sub/{i}.png": png(30 * i, (6, 5)) for i in range(8)}
        | {f"sub/{i}.txt": f"red {i}\nrot {i}\n" for i in range(8)},
    )


def folder_manifest(folder, **options):
    spec = f"folder:{folder}"
    source = open_source(spec, data_dir="unused", split="all", image_size=4)
    return make_manifest(source, name=spec, split="all", **options)


def test_images_of_a_folder_are_found_by_their_path(folder, tmp_path):
    manifest = folder_manifest(folder, rule="all", n=9)
    assert manifest.header.source == "folder:pictures"
    write_manifest(tmp_path / "m.jsonl", manifest)
    manifest = read_manifest(tmp_path / "m.jsonl")
    # Where the folder lies, and what else it holds, does not count.
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    write(elsewhere, {"first.png": 0})
    source = open_manifest(manifest, source=f"folder:{elsewhere}")
    for i, row in enumerate(manifest.rows):
        number = int(row.image.removeprefix("sub/").removesuffix(".png"))
        assert (source[i]["image"] == (30 * number, 0, 0)).all()
        assert row.caption in (f"red {number}", f"rot {number}")
    assert elsewhere.exists()


def test_links_of_a_folder_are_read_as_its_source_reads_them(folder, tmp_path):
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for i in range(8):
        os.replace(folder / f"sub/{i}.png", blobs / str(i))
        os.symlink(f"../../blobs/{i}", folder / f"sub/{i}.png")
    os.symlink(folder / "sub", folder / "linked")
    manifest = folder_manifest(folder)
    source = open_manifest(manifest, source=f"folder:{folder}")
    colors = {item["caption"]: int(item["image"][0, 0, 0]) for item in source}
    assert colors == {f"red {i}": 30 * i for i in range(8)}


def test_a_table_s_images_lie_beside_it(folder, tmp_path):
    rows = "".join(f"sub/{i}.png,number {i}\n" for i in range(4))
    (folder / "part.csv").write_text("file_name,caption\n" + rows)
    manifest = folder_manifest(folder / "part.csv")
    assert manifest.header.source == "folder:part.csv" and len(manifest) == 4
    for place in (folder / "part.csv", folder):
        source = open_manifest(manifest, source=f"folder:{place}")
        for item in source:
            assert item["image"][0, 0, 0] == 30 * int(item["caption"].split()[1])


def test_a_file_that_is_gone_or_torn_is_named(folder, tmp_path):
    manifest = folder_manifest(folder)
    row = next(i for i, row in enumerate(manifest.rows) if row.image == "sub/3.png")
    source, path = open_manifest(manifest, source=f"folder:{folder}"), folder / "sub/3.png"
    path.unlink()
    for change, error, message in (
        (lambda: None, FileNotFoundError, r"'sub/3.png' is not in"),
        (path.mkdir, FileNotFoundError, r"'sub/3.png' is not in"),
        (lambda: path.rmdir() or os.symlink("3.png", path), ValueError, "3.png' can't be read"),
        (lambda: path.unlink() or path.write_bytes(b"torn"), ValueError, "3.png: unreadable image"),
    ):
        change()
        with pytest.raises(error, match=message):
            source[row]


@settings(max_examples=150)
@given(name=st.text("./\\\\abC:~ \0\ud800", min_size=1, max_size=12) | st.just("a" * 4000))
def test_no_path_reads_outside_of_its_folder(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "a" / "b"
    root.mkdir(parents=True, exist_ok=True)
    for folder in (root, root.parent, root.parent.parent):
        (folder / "a").is_dir() or (folder / "a").write_bytes(b"secret")
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        header = Header("one", "folder:x", {}, "test", 0, 1, 1)
        manifest = Manifest(header, (Row("a", "a cat", name, "test"),))
        open_manifest(manifest, source=f"folder:{root}")[0]
    # Only what lies in the folder is read, and found to be no image.
    read = "unreadable image" in str(error.value)
    assert read == (os.path.normpath(name) == "a") and len(str(error.value)) < 500


def test_what_is_not_to_be_opened_gets_a_sentence(folder):
    manifest = folder_manifest(folder)
    with pytest.raises(ValueError, match="folder:pictures; say where its images are"):
        open_manifest(manifest)
    with pytest.raises(FileNotFoundError, match="are files; tfds:x is no folder"):
        open_manifest(manifest, source="tfds:x")
    row = Row("a", "a cat", 0, "test")
    for data in ({"data_dir": "/"}, {"image_size": "../x"}):
        hostile = Manifest(Header("one", "captioned_shapes/easy", data, "test", 0, 1, 1), (row,))
        with pytest.raises(ValueError, match="can't be opened"):
            open_manifest(hostile)


def test_captioned_shapes_are_opened_again(shapes_dir):
    data = {"image_size": 24, "captions": "short"}
    opened = open_source("captioned_shapes/easy", data_dir=shapes_dir, split="test", **data)
    more = {**data, "languages": ("en",), "flip": False}  # of no influence on this data
    manifest = make_manifest(opened, name="captioned_shapes/easy", split="test", n=5, data=more)
    assert manifest.header.data == data
    source = open_manifest(manifest, data_dir=shapes_dir)
    for row, item in zip(manifest.rows, source):
        np.testing.assert_array_equal(item["image"], opened[row.image]["image"])
        assert item["scene"] == opened[row.image]["scene"]
