"""Images cached on disk: the same as without, whatever happens to the file."""

import errno
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.disk_cache import OnDisk, on_disk
from dalle_jax.data.embeddings import StoredEmbeddings, WithEmbeddings, write_embeddings
from dalle_jax.data.loader import make_loader
from dalle_jax.data.open import open_source
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from tests.data import tars
from tests.data.encoded import encoded, parquet
from tests.data.pictures import write

SIDE, COUNT = 8, 12
RECORD = 3 * SIDE**2 + 4096


class Counted:
    """A source that counts its reads; of one name and version come the same images."""

    def __init__(self, length=COUNT, name="a", caption="a picture"):
        self.length, self.name, self.caption, self.reads = length, name, caption, 0

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        self.reads += 1
        image = np.random.default_rng((i, *self.name.encode())).integers(
            0, 256, (20, 11 + i, 3), np.uint8
        )
        return {"image": image, "caption": f"{self.caption} {i}", "id": str(i)}

    def stamp(self):
        return self.name


def cached(source, folder, limit=10**9, side=SIDE, memory_limit=0):
    return on_disk(source, side, limit=limit, memory_limit=memory_limit, folder=folder)


def visit(source):
    return [source[i] for i in range(len(source))]


def assert_same(items, others):
    for item, other in zip(items, others, strict=True):
        assert item.keys() == other.keys()
        for name, value in item.items():
            np.testing.assert_array_equal(value, other[name])
            assert type(value) is type(other[name])


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(train_tokenizer(["a picture 0123456789"], 260), max_length=16)


def batches(tokenizer, source, count=9):
    options = {"batch_size": 4, "image_size": SIDE, "flip": True, "max_shift": 1, "memory_limit": 0}
    loader = make_loader(source, tokenizer, **options)
    return [next(loader) for _ in range(count)]


def jpeg(number):
    image = np.random.default_rng(number).integers(0, 256, (24 + number, 40, 3), np.uint8)
    return encoded(Image.fromarray(image), "JPEG")


def make_data(kind, root):
    """The spec of images with two captions each, as one kind of data."""
    captions = [[f"a picture {i}", f"größer {i} 红"] for i in range(COUNT)]
    images = [jpeg(i) for i in range(COUNT)]
    if kind == "folder":
        rows = [{"file_name": f"{i}.jpg", "text": texts} for i, texts in enumerate(captions)]
        files = {f"{i}.jpg": image for i, image in enumerate(images)}
        return f"folder:{write(root, files | {'metadata.jsonl': rows})}"
    if kind == "webdataset":
        members = []
        for i, texts in enumerate(captions):
            members += [(f"{i}.jpg", images[i]), (f"{i}.txt", "\n".join(texts).encode())]
        return f"webdataset:{tars.write(root / '0.tar', members)}"
    table = parquet({"image": images, "captions": captions}, row_group_size=5)
    return f"parquet:{write(root, {'0.parquet': table})}/0.parquet"


def opened(spec, split="all"):
    return open_source(spec, data_dir="", split=split, image_size=SIDE, test_share=0.3)


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet"])
def test_batches_are_the_same_to_the_bit_at_the_first_visit_and_at_later_ones(
    kind, tokenizer, tmp_path, monkeypatch
):
    spec = make_data(kind, tmp_path / "data")
    expected = batches(tokenizer, opened(spec))
    for is_cached in (False, True):
        source = opened(spec)
        if is_cached:  # Nothing of the data is read any more.
            monkeypatch.setattr(type(source), "__getitem__", None)
        assert_same(batches(tokenizer, cached(source, tmp_path)), expected)
    assert len(list(tmp_path.glob("images-*.bin"))) == 1


@pytest.mark.parametrize("kind", ["folder", "webdataset", "parquet"])
def test_a_stamp_stays_as_long_as_the_data_do_and_differs_between_splits(kind, tmp_path):
    spec = make_data(kind, tmp_path / "data")
    assert opened(spec).stamp() == opened(spec).stamp()
    splits = [opened(spec, split).stamp() for split in ("all", "train", "test")]
    assert len(set(splits)) == 3


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_another(tmp_path):
    # As an archive without times unpacks uncompressed images: neither size nor time would tell.
    root = write(tmp_path / "data", {f"{i}.txt": f"picture {i}" for i in range(4)})

    def paint(level):
        for i in range(4):
            Image.new("RGB", (9, 9), (level, i, 7)).save(root / f"{i}.bmp")
            os.utime(root / f"{i}.bmp", (1, 1))

    paint(10)
    spec = f"folder:{root}"
    first = cached(opened(spec), tmp_path)
    assert {item["image"][0, 0, 0] for item in visit(first)} == {10}
    paint(200)
    then = opened(spec)
    assert then.signature == first.signature
    assert {item["image"][0, 0, 0] for item in visit(cached(then, tmp_path))} == {200}


@pytest.mark.filterwarnings("error")
def test_an_item_is_read_once_for_all_who_read_the_same_data_at_that_size(tmp_path):
    source = Counted()
    expected = visit(cached(source, tmp_path / "other"))
    assert source.reads == COUNT and {*expected[0]} == {"image", "caption"}
    source = Counted()
    for _ in range(3):
        assert_same(visit(cached(source, tmp_path)), expected)
    assert source.reads == COUNT
    for other in (Counted(name="b"), Counted(length=5)):
        assert_same(visit(cached(other, tmp_path)), visit(cached(other, tmp_path / other.name)))
    assert visit(cached(source, tmp_path, side=4))[0]["image"].shape == (4, 4, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: RECORD * 5 + 300],  # its end is missing
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: b"\xff" * len(content),
        lambda content: content[RECORD:] + content[:RECORD],  # records of other items
        lambda content: content[:100] + bytes(200) + content[300:],  # a torn image
        lambda content: content[:16] + b"\xff\xff\xff\xff" + content[20:],  # a length
        lambda content: content[: 20 + 3 * SIDE**2] + b"?" + content[21 + 3 * SIDE**2 :],  # texts
    ],
)
def test_a_damaged_record_is_made_again(damage, tmp_path):
    source = Counted()
    expected = visit(cached(source, tmp_path))
    (file,) = tmp_path.glob("images-*.bin")
    file.write_bytes(damage(file.read_bytes()))
    reads = []
    for _ in range(2):
        assert_same(visit(cached(source, tmp_path)), expected)
        reads.append(source.reads)
    assert reads[0] == reads[1] > COUNT


def test_any_flipped_bit_is_seen(tmp_path):
    source = Counted(length=1)
    expected = visit(cached(source, tmp_path))
    (file,) = tmp_path.glob("images-*.bin")
    content = file.read_bytes()
    used = 20 + 3 * SIDE**2 + len('{"caption": "a picture 0"}')
    for bit in random.Random(0).sample(range(8 * used), 60):
        torn = bytearray(content)
        torn[bit // 8] ^= 1 << bit % 8
        file.write_bytes(torn)
        assert_same(visit(cached(source, tmp_path)), expected)
    assert source.reads == 61


WRITER = """
import sys
from pathlib import Path
from tests.data.test_disk_cache import Counted, cached
while True:
    source = cached(Counted(60, sys.argv[2]), Path(sys.argv[1]))
    print(sum(source[i]["image"].sum() for i in range(len(source))), flush=True)
    for file in Path(sys.argv[1]).glob("*.bin"):  # and made again
        with open(file, "r+b") as opened:
            opened.seek(4096 * 7)
            opened.write(bytes(4096 * 9))
"""


def test_processes_that_write_at_once_and_are_killed_leave_no_wrong_picture(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path), "k"]
    expected = visit(cached(Counted(60, "k"), tmp_path / "other"))
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for writer in writers:
            writer.stdout.readline()
        for _ in range(5):
            assert_same(visit(cached(Counted(60, "k"), tmp_path)), expected)
    finally:
        for writer in writers:
            time.sleep(0.01)
            writer.send_signal(signal.SIGKILL)
            sums = {int(line) for line in writer.communicate()[0].split(b"\n")[:-1]}
            assert sums <= {sum(int(item["image"].sum()) for item in expected)}
    assert_same(visit(cached(Counted(60, "k"), tmp_path)), expected)


def test_what_fits_in_memory_and_what_is_drawn_at_its_size_are_left_as_they_are(tmp_path):
    source = Counted()
    assert cached(source, tmp_path, memory_limit=3 * SIDE**2 * COUNT) is source
    assert cached(source, tmp_path, limit=0) is source
    assert cached([{"image": None}], tmp_path)[0] == {"image": None}
    assert not list(tmp_path.iterdir())


def test_captions_too_long_for_a_record_are_read_each_time(tmp_path):
    for length, reads in ((4000, 1), (5000, 3)):
        source = Counted(1, f"{length}", "x" * length)
        items = [visit(cached(source, tmp_path))[0] for _ in range(3)]
        assert source.reads == reads
        assert {item["caption"] for item in items} == {"x" * length + " 0"}


def test_the_limit_holds_over_all_data_and_the_least_recently_used_give_way(tmp_path):
    limit = 3 * COUNT * RECORD
    files = {}
    for age, name in ((3, "a"), (9, "b"), (6, "c")):
        visit(cached(Counted(name=name), tmp_path, limit))
        (files[name],) = set(tmp_path.glob("*.bin")) - set(files.values())
        os.utime(files[name], (1e9 - age, 1e9 - age))
    cached(Counted(name="b"), tmp_path, limit)  # now the most recent
    cached(Counted(name="d"), tmp_path, limit)
    assert files["b"].exists() and files["a"].exists() and not files["c"].exists()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit


def test_of_data_beyond_the_limit_the_first_items_are_cached(tmp_path):
    source = Counted()
    small = cached(source, tmp_path, 5 * RECORD + 100)
    expected = visit(cached(Counted(), tmp_path / "other"))
    assert_same([*visit(small), *visit(small)], [*expected, *expected])
    assert source.reads == 2 * COUNT - 5
    assert str(small).startswith("5 of 12 images are decoded once and then read from ")
    assert str(cached(source, tmp_path)).startswith("12 of 12 images are decoded once")


def test_a_folder_that_can_not_be_written_costs_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"can't be written \(Not a directory\).*disk_cache=0"):
        source = cached(Counted(), tmp_path / "file/folder")
    assert len(visit(source)) == COUNT
    with pytest.warns(UserWarning, match=r"can't be written \(No space left"):
        assert not isinstance(cached(Counted(), tmp_path, RECORD - 1), OnDisk)


def test_a_disk_that_is_full_gets_its_space_back_and_costs_one_warning(tmp_path, monkeypatch):
    source, expected = Counted(), visit(cached(Counted(), tmp_path / "other"))
    full = cached(source, tmp_path)
    write_at = os.pwrite

    def fails(file, content, offset):
        if offset > 4 * RECORD:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_at(file, content, offset)

    monkeypatch.setattr(os, "pwrite", fails)
    with pytest.warns(UserWarning, match=r"can't be written \(No space left") as warned:
        assert_same([*visit(full), *visit(full)], [*expected, *expected])
    assert len(warned) == 1
    (file,) = tmp_path.glob("*.bin")
    assert file.stat().st_size == 0


def test_stored_embeddings_come_along(tmp_path):
    rows = np.eye(COUNT, dtype=np.float32)
    write_embeddings(tmp_path / "e", rows, count=COUNT, width=COUNT, made_by="x")
    source = WithEmbeddings(cached(Counted(), tmp_path), StoredEmbeddings(tmp_path / "e", "x"))
    for _ in range(2):
        for i, item in enumerate(visit(source)):
            assert item["image_embedding"].argmax() == i and item["caption"] == f"a picture {i}"
