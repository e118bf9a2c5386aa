import json
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data import checked, folder_scan
from dalle_jax.data.folder import FolderSource
from dalle_jax.data.folder_index import Captions
from tests.data.pictures import captions, numbers, png, read, write

TEXTS = {f"{i}.txt": f"no. {i}\nrosé" for i in range(6)}


@pytest.fixture
def root(tmp_path):
    write(tmp_path, {f"{i}.png": i for i in range(6)} | TEXTS)
    return tmp_path


@pytest.fixture
def unread(monkeypatch):
    """Calls of the reading of an item or a table."""
    calls = []

    def find_items(*args, **settings):
        calls.append(1)
        return original(*args, **settings)

    original = folder_scan.find_items
    monkeypatch.setattr(folder_scan, "find_items", find_items)
    return calls


def test_a_second_opening_gives_the_same_and_reads_nothing(root, unread, monkeypatch):
    write(root, {"1.txt": "", "x.md": "x", "2.txt": "a\ud800b".encode("utf-8", "surrogatepass")})
    write(root, {"3.json": {"caption": "a\ud800b"}, "3.txt": ""})
    first = read(root)
    items = captions(root)
    assert items["3.png"] == ("a\ud800b",) and "2.png" not in items
    with monkeypatch.context() as patch:
        patch.setattr(checked, "decode", None)
        second = read(root)
    assert len(unread) == 1 and second.report == first.report
    assert second.signature == first.signature != ""
    assert captions(root) == items and numbers(root)[5] == ("no. 5", "rosé")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write(root, {"0.txt": "another caption"}),
        lambda root: write(root, {"7.png": 7}),
        lambda root: write(root, {"0.png": b"torn"}),
        lambda root: (root / "0.png").unlink(),
        lambda root: (root / "0.png").rename(root / "9.png"),
        lambda root: os.utime(root / "0.png", ns=(1, 1)),
        lambda root: (root / "sub").mkdir() or (root / "0.png").rename(root / "sub" / "0.png"),
        lambda root: os.symlink("0.png", root / "link.png"),
        lambda root: write(root, {"metadata.jsonl": [{"file_name": "0.png", "text": "x"}]}),
        lambda root: write(root, {".hidden": "x"}),
        lambda root: (root / "data_index.npz").unlink(),
        lambda root: (root / "data_index.npz").write_bytes(b""),
        lambda root: (root / "data_index.npz").write_bytes(b"PK\3\4" * 99),
    ],
)
def test_a_change_is_seen(root, unread, change):
    captions(root)
    change(root)
    found = captions(root)
    assert len(unread) == 2
    (root / "data_index.npz").unlink()
    assert captions(root) == found


def test_other_options_of_reading_read_again(root, unread):
    options = {"encoding": "cp1252", "caption_column": "blip", "image_column": "img"}
    for option in ({}, *({k: v} for k, v in options.items()), {"min_side": 1}):
        read(root, **option)
    read(root, max_aspect_ratio=2.0)
    assert len(unread) == 6


def test_all_splits_and_shares_come_from_one_reading(root, unread):
    for split in ("train", "validation", "test", "all"):
        read(root, split)
        read(root, split, test_share=0.5, max_bad_share=0.5)
    assert len(unread) == 1


def test_own_reports_and_indices_are_no_data_of_the_folder(root, unread):
    read(root)
    write(root, {f"data_report-{'a' * 12}.json": {}, f"index-{'0' * 12}.npz": "x"})
    write(root, {"data_index.npz.0123456789abcdef.partial": "x", "data_report-train.json": "{}"})
    assert len(unread) == 1 and not read(root).report.left_out and len(unread) == 1


def test_a_cache_serves_several_folders_and_tables(tmp_path, unread):
    cache = tmp_path / "cache"
    for name in "ab":
        write(tmp_path / name, {"0.png": ord(name), "0.txt": name})
        write(tmp_path / name, {"part.jsonl": [{"file_name": "0.png", "text": "part"}]})
    for _ in range(2):
        for name in "ab":
            assert captions(tmp_path / name, cache_dir=cache) == {"0.png": (name,)}
            part = captions(tmp_path / name / "part.jsonl", cache_dir=str(cache))
            assert part == {"0.png": ("part",)}
    assert len(unread) == 4 and len([*cache.iterdir()]) == 8
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"0.png", "0.txt", "part.jsonl"}


def test_a_cache_inside_the_folder_does_not_change_it(root, unread):
    for _ in range(3):
        read(root, cache_dir=root / "cache")
    assert len(unread) == 1


def test_the_signature_is_of_names_sizes_and_captions(tmp_path):
    def signature(**changes):
        root = tmp_path / str(len([*tmp_path.iterdir()]))
        files = {"a.png": 1, "b.png": 2, "a.txt": "a", "b.txt": "b", **changes}
        return read(write(root, files)).signature

    first = signature()
    assert signature(**{"README.md": "x"}) == first  # It is no item.
    rows = [{"file_name": name, "text": text} for name, text in (("./b.png", "b"), ("a.png", "a"))]
    assert signature(**{"metadata.jsonl": rows}) == first  # The same data in another form.
    others = [{"a.txt": "c"}, {"a.txt": "a\nb"}, {"c.png": 3, "c.txt": "c"}, {"a.png": b"x"}]
    others += [{"a.png": png(1, 2, 2)}, {"a.txt": "b", "b.txt": "a"}]
    found = [signature(**change) for change in others]
    assert len({first, *found}) == len(found) + 1


ARRAYS = ["version", "files", "positions", "own", "own_splits", "report"]
ARRAYS += [
    f"{kind}_{name}" for kind in ("captions", "columns") for name in ("encoded", "ends", "last")
]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    root = tmp_path_factory.mktemp("indexed")
    write(root, {f"{i}.png": i for i in range(6)} | TEXTS)
    return root, captions(root), (root / "data_index.npz").read_bytes()


@settings(max_examples=50)
@given(data=st.data())
def test_a_forged_index_leads_to_nothing_outside_the_folder(indexed, data):
    root, expected, whole = indexed
    index = root / "data_index.npz"
    index.write_bytes(whole)
    with np.load(index) as saved:
        arrays = dict(saved)
    for name in data.draw(st.sets(st.sampled_from(ARRAYS), min_size=1, max_size=2)):
        array = arrays[name].copy()
        kind = data.draw(st.sampled_from(["value", "shape", "type", "gone"]))
        if kind == "value" and array.size:
            edges = [0, 1, -1, 5, 6, 255, 2**31, 2**62]
            flat = array.reshape(-1)
            value = np.array(data.draw(st.sampled_from(edges))).astype(array.dtype)
            flat[data.draw(st.integers(0, flat.size - 1))] = value
        elif kind == "shape":
            array = array[:-1] if array.ndim else array[None]
        elif kind == "type":
            array = array.astype(data.draw(st.sampled_from(["f4", "U3", "i2", "?"])))
        arrays[name] = array
        if kind == "gone":
            del arrays[name]
    np.savez(index, **arrays)
    source = read(root)
    for i in range(len(source)):
        assert source.location(i).startswith(f"{root}/")
        try:
            item = source[i]
        except ValueError:  # The number leads to a file that is no image, or into a character.
            continue
        assert item["id"] in expected and sum(map(len, item["captions"])) <= 60


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_index_is_built_again(indexed, data):
    root, expected, whole = indexed
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    (root / "data_index.npz").write_bytes(damaged[: end if data.draw(st.booleans()) else None])
    assert captions(root) == expected


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=5)


@given(st.lists(st.lists(ANY_TEXT, max_size=4), max_size=6))
def test_captions_come_out_as_they_went_in(texts):
    stored = Captions.of(texts)
    assert [stored[i] for i in range(len(texts))] == [tuple(item) for item in texts]
    assert stored.is_sound(len(texts))


def test_an_index_holds_no_pickle(root):
    read(root)
    with np.load(root / "data_index.npz", allow_pickle=False) as saved:
        assert all(saved[name].dtype != object for name in saved)
    assert json.loads((root / "data_report.json").read_text())["total"] == 6


def test_the_warning_of_a_scan_comes_at_every_opening(root):
    write(root, {"0.txt": "", "notes.md": "x"})
    for _ in range(2):
        with pytest.warns(
            UserWarning, match=r"1 skipped: empty caption \(0.png\); 1 left out: other"
        ):
            FolderSource(root, "all", max_bad_share=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(root, {"0.txt": "x"})
        (root / "notes.md").unlink()
        FolderSource(root, "all")
