import json
import os
import shutil
import unicodedata
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.splits import split_mask
from tests.data.encoded import parquet
from tests.data.pictures import SHARES, captions, read, splits, write

SPLITS = ("train", "validation", "test")


def by_hash(keys):
    masks = {split: split_mask(keys, split, **SHARES) for split in SPLITS}
    return {i: next(s for s in SPLITS if masks[s][i]) for i in range(len(keys))}


def put(root, names):
    """Images with captions beside them; the number of each is its place among the names."""
    write(root, {name: i for i, name in enumerate(names)})
    return write(root, {f"{name.rpartition('.')[0]}.txt": "x" for name in names})


def put_table(root, names, spelled=str):
    write(root, {name: i for i, name in enumerate(names)})
    rows = [{"file_name": spelled(name), "text": "x"} for name in names]
    return write(root, {"metadata.jsonl": rows})


NUMBERED = [f"{i}.png" for i in range(30)]


@pytest.mark.parametrize("prefix", ["", "./", "sub/../", ".\\"])
def test_an_existing_split_stays_whatever_the_spelling(tmp_path, prefix):
    write(tmp_path, {"sub/x.txt": ""})
    assert splits(put_table(tmp_path, NUMBERED, prefix.__add__)) == by_hash(NUMBERED)


def test_an_existing_split_of_captions_beside_the_images_stays(tmp_path):
    names = [f"sub/{name}" for name in NUMBERED]
    assert splits(put(tmp_path, names)) == by_hash(names)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    "folders",
    [
        ("train", "validation", "test"),
        ("train", "val", "test"),
        ("train", "dev", "test"),
        ("Train", "Valid", "TEST"),
        ("training", "dev", "testing"),
    ],
)
def test_split_folders_are_the_splits(tmp_path, folders, beside):
    for number, folder in enumerate(folders):
        images = {"a.png": number, "sub/b.png": number + 10}
        rows = [{"file_name": name, "text": "x"} for name in images]
        texts = {"a.txt": "x", "sub/b.txt": "x"} if beside else {"metadata.jsonl": rows}
        write(tmp_path / folder, images | texts)
    assert splits(tmp_path) == {n + 10 * deep: SPLITS[n] for n in range(3) for deep in (0, 1)}
    assert len(captions(tmp_path)) == 6


@pytest.mark.parametrize("with_test", [True, False])
def test_a_missing_validation_is_taken_out_of_train_by_hash(tmp_path, with_test):
    names = [f"train/{name}" for name in NUMBERED]
    expected, said = by_hash(names), "validation and test taken out of train"
    put(tmp_path, names)
    if with_test:
        write(tmp_path, {"test/x.png": 99, "test/x.txt": "x"})
        expected = {i: "train" if split == "test" else split for i, split in expected.items()}
        expected[99] = "test"
        said = "its own train and test; validation taken out of train"
    assert splits(tmp_path) == expected and said in str(read(tmp_path).report)


def test_captions_at_the_root_keep_the_split_by_hash(tmp_path):
    names = [f"{folder}/{i}.png" for folder in ("train", "test") for i in range(15)]
    assert splits(put_table(tmp_path, names)) == by_hash(names)
    assert "its own" not in str(read(tmp_path).report)


def test_other_folders_beside_split_folders_are_split_by_hash(tmp_path):
    names = [f"more/{name}" for name in NUMBERED]
    found = splits(put(tmp_path, [*names, "train/x.png", "test/y.png"]))
    assert found.pop(31) == "test" and found.pop(30) in ("train", "validation")
    assert found == by_hash(names)


def test_a_split_that_no_folder_has_is_a_sentence(tmp_path):
    put(tmp_path, ["test/a.png"])
    assert len(captions(tmp_path, "test")) == 1 and read(tmp_path).splits == ("test",)
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=f"has no {split} split; it has test"):
            read(tmp_path, split)


def test_names_of_two_unicode_forms_have_one_split(tmp_path):
    forms = [
        put(tmp_path / form, [unicodedata.normalize(form, f"é{n}") for n in NUMBERED])
        for form in ("NFC", "NFD")
    ]
    assert splits(forms[0]) == splits(forms[1])
    assert read(forms[0]).signature == read(forms[1]).signature


SPLITS_OF_ROWS = ("train", "Test", " val ", "dev", "testing", "extra", "")


def split_table(kind):
    """A table of images that have a split each, as bytes."""
    names = [f"{i}.png" for i in range(len(SPLITS_OF_ROWS))]
    columns = {"file_name": names, "caption": ["x"] * len(names), "split": [*SPLITS_OF_ROWS]}
    if kind == "parquet":
        return parquet(columns)
    if kind == "json":
        return json.dumps(columns)
    if kind == "jsonl":
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    return "\n".join(";".join(row) for row in [[*columns], *zip(*columns.values())])


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_a_column_split_of_a_table_is_the_split(tmp_path, kind):
    write(tmp_path, {f"{i}.png": i for i in range(len(SPLITS_OF_ROWS))})
    write(tmp_path, {f"metadata.{kind}": split_table(kind)})
    assert splits(tmp_path, validation_share=0.0, test_share=0.0) == {
        **dict.fromkeys((0, 5, 6), "train"),
        **dict.fromkeys((2, 3), "validation"),
        **dict.fromkeys((1, 4), "test"),
    }
    ((note, names),) = read(tmp_path).report.noted.items()
    assert "none of train, validation, test" in note and names == ["5.png"]


def test_a_name_of_another_folder_is_not_taken_for_that_of_a_row_with_a_split(tmp_path):
    table = [{"file_name": "a.png", "text": "of the root", "split": "train"}]
    write(tmp_path, {"sub/a.png": 1, "sub/a.txt": "x", "b.png": 2, "metadata.jsonl": table})
    with pytest.raises(ValueError, match=r"no image \(a.png\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("names", "noted"),
    [
        (["data/test/a.png"], ["data/test/a.png"]),
        (["2024/Val/b/a.png"], ["2024/Val/b/a.png"]),
        (["test/a.png", "latest/b.png"], []),  # a split at the top
    ],
)
def test_a_folder_that_is_only_named_as_a_split_is_noted(tmp_path, names, noted):
    found = read(put(tmp_path, names)).report.noted
    assert [*found.values()] == ([noted] if noted else [])
    assert all("named as a split" in note for note in found)


def test_a_folder_of_a_table_s_names_is_noted_if_it_is_named_as_a_split(tmp_path):
    ((note, names),) = read(put_table(tmp_path, ["test/a.png"])).report.noted.items()
    assert "named as a split" in note and names == ["test/a.png"]


SPELLINGS = (
    lambda root, name: name,
    lambda root, name: f"./{name}",
    lambda root, name: name.replace("/", "\\"),
    lambda root, name: name.replace("/", "//"),
    lambda root, name: f"{root}/{name}",
    lambda root, name: name.upper(),
    lambda root, name: unicodedata.normalize("NFD", name),
)
IMAGE = st.tuples(st.sampled_from(["", "sub/", "sub/é/", "train/", "test/"]), st.integers(0, 30))
ROW = st.tuples(st.integers(0, 99), st.sampled_from(SPELLINGS), st.sampled_from("abc"))
LINK = st.tuples(st.integers(0, 99), st.booleans(), st.sampled_from(["", "more/"]))


def build(root, images, rows, links, beside):
    """A folder of images, with a table of rows, or texts beside, and links to some of them."""
    shutil.rmtree(root, ignore_errors=True)
    outside = root.parent / "outside"
    shutil.rmtree(outside, ignore_errors=True)
    names = [f"{folder}é{number}.png" for folder, number in images]
    write(root, {name: number_of(name) for name in names})
    written = [
        {"file_name": spell(root, names[i % len(names)]), "text": text}
        for i, spell, text in rows
        if names
    ]
    for n, (i, is_outside, folder) in enumerate(links if names else ()):
        target = root / names[i % len(names)]
        if is_outside:
            target = write(outside, {f"{n}": number_of(f"outside{i}")}) / f"{n}"
        path = root / folder / f"link{n}.png"
        path.parent.mkdir(exist_ok=True)
        os.symlink(target, path)
        written.append({"file_name": f"{folder}link{n}.png", "text": f"link {n}"})
        if beside:
            write(root, {f"{folder}link{n}.txt": f"link {n}"})
    if beside:
        write(root, {f"{name[:-4]}.txt": "x" for name in names})
    else:
        write(root, {"metadata.jsonl": written})
    return names


def number_of(name):
    return zlib.crc32(name.encode()) % 2**24


@settings(max_examples=20)
@given(data=st.data(), beside=st.booleans())
def test_an_item_is_in_one_split_which_no_other_item_decides(tmp_path_factory, data, beside):
    base = tmp_path_factory.mktemp("items")
    images = data.draw(st.lists(IMAGE, min_size=1, max_size=12, unique=True))
    rows = data.draw(st.lists(ROW, max_size=20))
    links = data.draw(st.lists(LINK, max_size=3))
    if beside:  # Whether there are split folders at all is the one thing that others decide.
        images += [("train/", 90), ("test/", 90), ("val/", 90)]
    rows = [(i, SPELLINGS[0], "every") for i in range(len(images))] + rows
    build(base / "a", images, rows, links, beside)
    before = splits(base / "a")
    # Others come, the rows change their order, and some links are added.
    more = data.draw(st.lists(IMAGE, max_size=6, unique=True))
    order = data.draw(st.permutations(images + [image for image in more if image not in images]))
    every = [(i, data.draw(st.sampled_from(SPELLINGS)), "every") for i in range(len(order))]
    shuffled = data.draw(st.permutations(every + data.draw(st.lists(ROW, max_size=5))))
    build(base / "a", order, shuffled, data.draw(st.lists(LINK, max_size=3)), beside)
    after = splits(base / "a")
    own = {number_of(f"{folder}é{number}.png") for folder, number in images}
    common = before.keys() & after.keys()
    assert own <= common and all(after[n] == before[n] for n in common)
    shutil.rmtree(base)
