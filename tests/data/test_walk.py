import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dalle_jax.data.walk import describe, reserved, walk


def touch(path, size=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def names(root):
    return [file.name for file in walk(root).files]


def test_files_have_relative_names_sizes_and_times_in_the_order_of_their_names(tmp_path):
    touch(tmp_path / "b.png", 3)
    touch(tmp_path / "a" / "c.png", 5)
    os.utime(tmp_path / "b.png", ns=(7, 11))
    first, second = walk(tmp_path).files
    assert (first.name, first.size) == ("a/c.png", 5)
    changed = (tmp_path / "b.png").stat().st_ctime_ns
    assert second[:] == ("b.png", 3, 11, None, False, changed)


def test_an_empty_folder_has_no_files(tmp_path):
    assert walk(tmp_path).files == [] and walk(tmp_path).left_out == {}


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        walk(tmp_path / "nowhere")
    touch(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        walk(tmp_path / "file")


def test_the_folder_itself_may_be_hidden_or_be_a_link(tmp_path):
    touch(tmp_path / ".cache" / "a.png")
    os.symlink(tmp_path / ".cache", tmp_path / "link")
    assert names(tmp_path / ".cache") == names(tmp_path / "link") == ["a.png"]
    assert walk(tmp_path / "link").files[0].real is None


@pytest.mark.parametrize("relative", [False, True])
def test_a_linked_folder_is_followed_and_its_files_lie_outside(tmp_path, relative):
    touch(tmp_path / "elsewhere" / "deep" / "a.png", 2)
    (tmp_path / "root").mkdir()
    target = "../elsewhere" if relative else tmp_path / "elsewhere"
    os.symlink(target, tmp_path / "root" / "more")
    (file,) = walk(tmp_path / "root").files
    assert (file.name, file.size, file.outside) == ("more/deep/a.png", 2, True)
    assert file.real == os.path.realpath(tmp_path / "elsewhere" / "deep" / "a.png")


@pytest.mark.parametrize("target", ["../blobs/1", "over/../../blobs/1", "chain"])
def test_a_linked_file_has_its_real_path(tmp_path, target):
    """As a Hugging Face cache is laid out: snapshots of links to blobs."""
    touch(tmp_path / "blobs" / "1", 4)
    root = tmp_path / "snapshot"
    (root / "over").mkdir(parents=True)
    os.symlink("../blobs/1", root / "chain")
    os.symlink(target, root / "a.png")
    file = walk(root).files[0]
    assert (file.name, file.size, file.outside) == ("a.png", 4, True)
    assert file.real == os.path.realpath(tmp_path / "blobs" / "1")


def test_a_link_within_the_folder_does_not_lead_out_of_it(tmp_path):
    touch(tmp_path / "a" / "x.png")
    os.symlink("a", tmp_path / "b")
    os.symlink("a/x.png", tmp_path / "y.png")
    assert [(f.name, f.outside) for f in walk(tmp_path).files] == [
        ("a/x.png", False),
        ("b/x.png", False),
        ("y.png", False),
    ]


def test_a_folder_whose_name_begins_with_the_roots_lies_outside(tmp_path):
    touch(tmp_path / "images2" / "a.png")
    (tmp_path / "images").mkdir()
    os.symlink(tmp_path / "images2", tmp_path / "images" / "more")
    assert walk(tmp_path / "images").files[0].outside


@pytest.mark.parametrize("target", [".", "..", "../a", "../../root"])
def test_circles_of_links_are_cut_and_named(tmp_path, target):
    touch(tmp_path / "root" / "a" / "x.png")
    os.symlink(target, tmp_path / "root" / "a" / "loop")
    listed = walk(tmp_path / "root")
    assert [file.name for file in listed.files] == ["a/x.png"]
    assert listed.left_out == {"link in a circle": ["a/loop/"]}


def test_two_folders_that_link_to_each_other_end(tmp_path):
    for one, other in (("a", "b"), ("b", "a")):
        touch(tmp_path / one / f"{one}.png")
        os.symlink(f"../{other}", tmp_path / one / "to")
    assert names(tmp_path) == ["a/a.png", "a/to/b.png", "b/b.png", "b/to/a.png"]


def test_a_link_to_the_folder_above_the_root_ends(tmp_path):
    touch(tmp_path / "above" / "root" / "x.png")
    touch(tmp_path / "above" / "y.png")
    os.symlink("..", tmp_path / "above" / "root" / "up")
    listed = walk(tmp_path / "above" / "root")
    assert [file.name for file in listed.files] == ["up/y.png", "x.png"]
    assert listed.left_out == {"link in a circle": ["up/root/"]}


def test_links_to_nothing_are_named(tmp_path):
    os.symlink("nowhere", tmp_path / "a.png")
    os.symlink("b.png", tmp_path / "b.png")
    touch(tmp_path / "c.png")
    listed = walk(tmp_path)
    assert [file.name for file in listed.files] == ["c.png"]
    assert listed.left_out == {"broken link": ["a.png", "b.png"]}


def test_a_pipe_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert walk(tmp_path).left_out == {"no regular file": ["a.png"]}


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read all folders")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    touch(tmp_path / "a" / "x.png")
    (tmp_path / "a").chmod(0)
    assert walk(tmp_path).left_out == {"unreadable": ["a/"]}


HIDDEN = ["._a.png", ".DS_Store", ".hidden.png", ".ipynb_checkpoints/0-checkpoint.png", "..png"]
HIDDEN += [".git/objects/a.png", ".cache/huggingface/download/a.png", "a/.b/c.png"]
OF_SYSTEMS = ["__MACOSX/a.png", "__MACOSX/._a.png", "Thumbs.db", "deep/thumbs.DB", "desktop.ini"]
OF_SYSTEMS += ["Desktop.ini", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "@Recycle/a.png"]
OF_SYSTEMS += ["photos/~snapshot/daily/a.png", "RECYCLED/a.png", "Network Trash Folder/a.png"]
OF_SYSTEMS += ["$RECYCLE.BIN/a.png", "System Volume Information/a.png", "lost+found/a.png"]
OF_SYSTEMS += ["a/__pycache__/a.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [*((n, "hidden") for n in HIDDEN), *((n, "system file") for n in OF_SYSTEMS)],
)
def test_files_of_systems_and_tools_are_nobodys_data(tmp_path, name, reason):
    touch(tmp_path / name)
    touch(tmp_path / "sound.png")
    assert reserved(name) == reason
    listed = walk(tmp_path)
    assert [file.name for file in listed.files] == ["sound.png"]
    assert list(listed.left_out) == [reason]


@pytest.mark.parametrize("name", ["a.b.png", "my__MACOSX.png", "Thumbs.db.png", "a..png", "~a"])
def test_names_that_only_resemble_them_are_data(tmp_path, name):
    touch(tmp_path / name)
    assert reserved(name) is None and names(tmp_path) == [name]


def test_a_tars_leading_dot_is_no_hidden_name():
    assert reserved("./a/b.png") is None and reserved("../a.png") is None


def test_names_that_are_no_utf8_are_listed(tmp_path):
    with open(os.fsencode(tmp_path) + b"/a\xff.png", "wb"):
        pass
    assert names(tmp_path) == ["a\udcff.png"]


def test_what_is_left_out_is_described_by_reason():
    text = describe({"hidden": [".a", ".b", ".c", ".d"], "broken link": ["x\n\udcff"]})
    assert text == "4 hidden (.a, .b, .c, …), 1 broken link ('x\\n\\udcff')"
    assert describe({}) == ""


@given(st.sets(st.text("ab-/. ", min_size=1, max_size=6), max_size=8))
def test_all_files_are_listed_or_left_out(tmp_path_factory, wanted):
    root = tmp_path_factory.mktemp("walk")
    made = set()
    for name in wanted:
        path = os.path.normpath("/" + name).lstrip("/")
        if path and not os.path.lexists(root / path):
            try:
                touch(root / path)
                made.add(path)
            except (FileExistsError, NotADirectoryError):
                pass
    listed = walk(root)
    found = [file.name for file in listed.files]
    assert found == sorted(name for name in made if reserved(name) is None)
    hidden = listed.left_out.get("hidden", [])
    for name in made - set(found):
        assert name in hidden or any(name.startswith(h) for h in hidden if h.endswith("/"))


def test_many_files_are_listed_fast(tmp_path):
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
        for i in range(500):
            (tmp_path / str(folder) / f"{i}.png").touch()
    start = time.process_time()
    plain = [path for folder, _, names in os.walk(tmp_path) for path in names]
    between = time.process_time()
    assert len(walk(tmp_path).files) == len(plain) == 5000
    # Five times the plain listing is usual.
    assert time.process_time() - between < 25 * (between - start)
