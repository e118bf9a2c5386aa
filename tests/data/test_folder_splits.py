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


@pytest.mark.parametrize("prefix", ["", "./", "sub/../", ".\\"])
def test_an_existing_split_stays_whatever_the_spelling(tmp_path, prefix):
    names = [f"{i}.png" for i in range(30)]
    write(tmp_path, {name: i for i, name in enumerate(names)} | {"sub/x.txt": ""})
    write(tmp_path, {"metadata.jsonl": [{"file_name": prefix + n, "text": "x"} for n in names]})
    assert splits(tmp_path) == by_hash(names)


def test_an_existing_split_of_captions_beside_the_images_stays(tmp_path):
    names = [f"sub/{i}.png" for i in range(30)]
    write(tmp_path, {name: i for i, name in enumerate(names)})
    write(tmp_path, {f"sub/{i}.txt": "x" for i in range(30)})
    assert splits(tmp_path) == by_hash(names)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "test", "validation"), SPLITS),
        (("train", "test", "val"), SPLITS),
        (("train", "dev", "test"), SPLITS),
        (("Train", "Valid", "TEST"), SPLITS),
        (("training", "testing", "dev"), SPLITS),
    ],
)
def test_split_folders_are_the_splits(tmp_path, folders, expected, beside):
    names = {"t": "train", "v": "validation", "d": "validation"}
    for number, folder in enumerate(folders):
        write(tmp_path, {f"{folder}/a.png": number, f"{folder}/sub/b.png": number + 10})
        if beside:
            write(tmp_path, {f"{folder}/a.txt": "x", f"{folder}/sub/b.txt": "x"})
        else:
            rows = [{"file_name": name, "text": "x"} for name in ("a.png", "sub/b.png")]
            write(tmp_path, {f"{folder}/metadata.jsonl": rows})
    of_folder = ["test" if f.lower().startswith("test") else names[f.lower()[0]] for f in folders]
    assert splits(tmp_path) == {
        number + 10 * deep: split for number, split in enumerate(of_folder) for deep in (0, 1)
    }
    assert len(captions(tmp_path)) == 6


@pytest.mark.parametrize("with_test", [True, False])
def test_a_missing_validation_is_taken_out_of_train_by_hash(tmp_path, with_test):
    names = [f"train/{i}.png" for i in range(30)]
    write(tmp_path, {name: i for i, name in enumerate(names)})
    write(tmp_path, {f"train/{i}.txt": "x" for i in range(30)})
    expected = by_hash(names)
    said = "validation and test taken out of train"
    if with_test:
        write(tmp_path, {"test/x.png": 99, "test/x.txt": "x"})
        expected = {i: "train" if split == "test" else split for i, split in expected.items()}
        expected[99] = "test"
        said = "its own train and test; validation taken out of train"
    assert splits(tmp_path) == expected and said in str(read(tmp_path).report)


def test_captions_at_the_root_keep_the_split_by_hash(tmp_path):
    names = [f"{folder}/{i}.png" for folder in ("train", "test") for i in range(15)]
    write(tmp_path, {name: i for i, name in enumerate(names)})
    write(tmp_path, {"metadata.jsonl": [{"file_name": n, "text": "x"} for n in names]})
    assert splits(tmp_path) == by_hash(names)
    assert "its own" not in str(read(tmp_path).report)


def test_other_folders_beside_split_folders_are_split_by_hash(tmp_path):
    names = [f"more/{i}.png" for i in range(30)]
    write(tmp_path, {name: i for i, name in enumerate(names)} | {"train/x.png": 50})
    write(tmp_path, {f"more/{i}.txt": "x" for i in range(30)} | {"train/x.txt": "x"})
    write(tmp_path, {"test/y.png": 51, "test/y.txt": "x"})
    found = splits(tmp_path)
    assert found.pop(51) == "test" and found.pop(50) in ("train", "validation")
    assert found == by_hash(names)


def test_a_split_that_no_folder_has_is_a_sentence(tmp_path):
    write(tmp_path, {"test/a.png": 1, "test/a.txt": "x"})
    assert len(captions(tmp_path, "test")) == 1 and read(tmp_path).splits == ("test",)
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=f"has no {split} split; it has test"):
            read(tmp_path, split)
    with pytest.raises(ValueError, match="no split 'dev'"):
        read(tmp_path, "dev")


def test_names_of_two_unicode_forms_have_one_split(tmp_path):
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        files = {unicodedata.normalize(form, f"é{i}"): i for i in range(30)}
        write(root, {f"{name}.png": i for name, i in files.items()})
        write(root, {f"{name}.txt": "x" for name in files})
    assert splits(tmp_path / "NFC") == splits(tmp_path / "NFD")
    assert read(tmp_path / "NFC").signature == read(tmp_path / "NFD").signature


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


@settings(max_examples=20, deadline=None)
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
    assert own <= {*before} & {*after}
    assert {n: after[n] for n in {*before} & {*after}} == {
        n: before[n] for n in {*before} & {*after}
    }
    shutil.rmtree(base)


SPLITS_OF_ROWS = ("train", "Test", " val ", "dev", "testing", "extra", "")


def split_table(kind):
    """A table of images that have a split each, as bytes."""
    names = [f"{i}.png" for i in range(len(SPLITS_OF_ROWS))]
    columns = {"file_name": names, "caption": ["x"] * len(names), "split": [*SPLITS_OF_ROWS]}
    if kind == "parquet":
        return parquet(columns)
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    if kind == "json":
        return json.dumps(columns).encode()
    if kind == "jsonl":
        return "\n".join(map(json.dumps, rows)).encode()
    return "\n".join(";".join(row) for row in [[*columns], *zip(*columns.values())]).encode()


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_a_column_split_of_a_table_is_the_split(tmp_path, kind):
    images = {f"{i}.png": i for i in range(len(SPLITS_OF_ROWS))}
    write(tmp_path, {**images, f"metadata.{kind}": split_table(kind)})
    shares = {"validation_share": 0.0, "test_share": 0.0}
    split = {name: {*captions(tmp_path, name, **shares)} for name in SPLITS}
    assert split == {
        "train": {"0.png", "5.png", "6.png"},
        "validation": {"2.png", "3.png"},
        "test": {"1.png", "4.png"},
    }
    ((note, names),) = read(tmp_path, "all").report.noted.items()
    assert "none of train, validation, test" in note and names == ["5.png"]


def test_a_name_of_another_folder_is_not_taken_for_that_of_a_row_with_a_split(tmp_path):
    table = [{"file_name": "a.png", "text": "of the root", "split": "train"}]
    write(tmp_path, {"sub/a.png": 1, "sub/a.txt": "x", "b.png": 2, "metadata.jsonl": table})
    with pytest.raises(ValueError, match=r"no image \(a.png\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"test/a.png": 1, "metadata.jsonl": [{"file_name": "test/a.png", "text": "x"}]},
        {"data/test/a.png": 1, "data/test/a.txt": "x"},
        {"2024/Val/b/a.png": 1, "2024/Val/b/a.txt": "x"},
    ],
)
def test_a_folder_that_is_only_named_as_a_split_is_noted(tmp_path, files):
    ((note, names),) = read(write(tmp_path, files)).report.noted.items()
    assert "named as a split" in note and names == [next(iter(files))]


def test_a_split_at_the_top_is_not_noted(tmp_path):
    files = {"test/a.png": 1, "test/a.txt": "x", "latest/b.png": 2, "latest/b.txt": "y"}
    assert read(write(tmp_path, files)).report.noted == {}
