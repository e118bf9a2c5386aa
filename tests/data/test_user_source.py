"""What holds of every kind of user data: of one data set as a folder, tar shards and Parquet."""

import itertools
import os
import uuid
import warnings

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data import checked
from dalle_jax.data.open import open_source
from tests.data import pictures, tars
from tests.data.encoded import parquet
from tests.data.http_server import serve
from tests.data.pictures import SHARES
from tests.data.tars import png

KINDS = ("folder", "webdataset", "parquet")


def write(kind, root, images):
    """A data set of encoded images by name, each of which has its name as its caption."""
    if kind == "folder":
        texts = {f"{name}.txt": name for name in images}
        pictures.write(root, {f"{name}.png": image for name, image in images.items()} | texts)
    elif kind == "webdataset":
        members = [(f"{name}.png", image) for name, image in images.items()]
        tars.write(root / "0.tar", [*members, *((f"{n}.txt", n.encode()) for n in images)])
    else:
        table = {"image": pa.array(images.values(), pa.binary()), "text": [*images]}
        # Without check sums, damage can give a row another row's image unseen.
        content = parquet(table, row_group_size=7, write_page_checksum=True)
        pictures.write(root, {"0.parquet": content})
    return root


def read(kind, place, split="all", **options):
    """The source, without warnings."""
    options = {"max_bad_share": 1.0, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_source(f"{kind}:{place}", data_dir="", split=split, image_size=4, **options)


def captions(source):
    return [source[i]["caption"] for i in range(len(source))]


NUMBERED = {str(i): png(i) for i in range(40)}


@pytest.mark.parametrize("kind", KINDS)
def test_opened_by_name(tmp_path, kind):
    write(kind, tmp_path, {"7": png(7)})
    source = read(kind, tmp_path)
    assert len(source) == 1 and source.splits == ("train", "validation", "test")
    item = source[0]
    np.testing.assert_array_equal(item["image"], np.broadcast_to([7, 0, 0], (3, 4, 3)))
    assert item["caption"] == "7" and item["captions"] == ("7",)
    place = {
        "folder": f"{tmp_path}/7.png",
        "webdataset": f"0.tar/7 of {tmp_path}/0.tar",
        "parquet": f"0.parquet#0 of {tmp_path}/0.parquet",
    }
    assert source.location(0) == place[kind]
    with pytest.raises(ValueError, match="has no option 'shrae'; it has cache_dir, caption_c"):
        read(kind, tmp_path, shrae=1)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_disjoint_and_complete(tmp_path, kind):
    write(kind, tmp_path, NUMBERED)
    parts = [
        captions(read(kind, tmp_path, split, **SHARES)) for split in ("train", "validation", "test")
    ]
    assert all(parts) and sorted(itertools.chain(*parts)) == sorted(NUMBERED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_share": 0.6, "test_share": 0.6}, "add up to at most 1"),
        ({"encoding": "klingon"}, "no text encoding 'klingon'"),
        ({"split": "dev"}, "no split 'dev'"),
    ],
)
def test_what_can_t_be_is_refused_before_anything_is_read(tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        read(kind, tmp_path, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_other_sizes_are_left_out(tmp_path, kind):
    sizes = {"a": (8, 8), "b": (7, 30), "c": (33, 8), "d": (32, 8), "e": (9, 9)}
    write(kind, tmp_path, {name: png(1, size) for name, size in sizes.items()})
    assert captions(read(kind, tmp_path)) == ["a", "b", "c", "d", "e"]
    assert captions(read(kind, tmp_path, min_side=8)) == ["a", "c", "d", "e"]
    assert captions(read(kind, tmp_path, max_aspect_ratio=4.0)) == ["a", "d", "e"]
    report = read(kind, tmp_path, min_side=9, max_aspect_ratio=4.0, max_bad_share=0.0).report
    assert report.total == 1 and [*report.left_out] == ["side below 9 pixels"]
    (narrow,) = read(kind, tmp_path, min_side=6, max_aspect_ratio=4.2).report.left_out
    assert narrow == "aspect ratio above 4.2"


@pytest.mark.parametrize("kind", KINDS)
def test_refused_images_are_given_for_a_contact_sheet(tmp_path, kind):
    write(kind, tmp_path, {"a": png(1), "b": b"torn", "c": png(3, (2, 2))})
    source = read(kind, tmp_path, min_side=3)
    ((torn,),) = source.report.skipped.values()
    ((small,),) = source.report.left_out.values()
    assert source.encoded(torn) == b"torn" and source.encoded(small) == png(3, (2, 2))
    assert source.encoded("nothing") is None and source.item_digests().shape == (1, 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [None, "gone", "torn"])
def test_a_second_opening_reads_no_item_unless_the_index_is_damaged(
    tmp_path, kind, damage, monkeypatch
):
    write(kind, tmp_path, {**NUMBERED, "torn": b"torn"})
    cache = tmp_path / "cache"
    first = read(kind, tmp_path, "train", cache_dir=cache)
    for path in cache.glob("*.npz") if damage else ():
        path.write_bytes(b"torn") if damage == "torn" else path.unlink()
    with monkeypatch.context() as patch:
        if damage is None:
            patch.setattr(checked, "decode", None)
        second = read(kind, tmp_path, "train", cache_dir=cache)
        other = read(kind, tmp_path, "test", cache_dir=cache)
    assert captions(second) == captions(first) and second.report == first.report
    assert second.signature == first.signature == other.signature
    assert len(other) and not {*captions(other)} & {*captions(first)}
    write(kind, tmp_path, {**NUMBERED, "new": png(50)})
    assert "new" in captions(read(kind, tmp_path, cache_dir=cache))


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_torn_later_is_named(tmp_path, kind):
    write(kind, tmp_path, {"a": png(1), "b": png(2)})
    source = read(kind, tmp_path)
    for path in tmp_path.iterdir():
        if path.suffix in (".png", ".tar", ".parquet"):
            path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match=r"(a|#0).*, readable when it was scanned, is not: "):
        source[0]


@pytest.mark.parametrize("kind", KINDS)
def test_too_many_bad_items_are_an_error_each_time(tmp_path, kind):
    write(kind, tmp_path, {"a": png(1), "b": b"torn"})
    for _ in range(2):
        with pytest.raises(ValueError, match=r"1 of 2 items used; .*max_bad_share = 0.4"):
            read(kind, tmp_path, max_bad_share=0.4)
    assert captions(read(kind, tmp_path, max_bad_share=0.5)) == ["a"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_can_t_be_written_is_a_warning(tmp_path, kind):
    write(kind, tmp_path / "data", {"a": png(1)})
    (tmp_path / "file").write_text("")
    options = {"data_dir": "", "image_size": 4, "split": "all", "cache_dir": tmp_path / "file"}
    for _ in range(2):
        with pytest.warns(UserWarning, match="could not be written"):
            assert len(open_source(f"{kind}:{tmp_path}/data", **options)) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("url_cache")
def test_data_is_the_same_by_url_and_on_disk(tmp_path, kind):
    root = write(kind, tmp_path / "d", NUMBERED)
    contents = {path.name: path.read_bytes() for path in root.iterdir()}
    memory, name = fsspec.filesystem("memory"), uuid.uuid4().hex
    for path, content in contents.items():
        memory.pipe(f"/{name}/{path}", content)
    with serve({f"/d/{path}": content for path, content in contents.items()}) as server:
        for place in (f"{server.url}/d/", f"memory://{name}"):
            for split in ("all", "train", "test"):
                there, here = (read(kind, p, split, **SHARES) for p in (place, root))
                assert there.signature == here.signature and captions(there) == captions(here)
                ids = [[source[i]["id"] for i in range(len(source))] for source in (there, here)]
                assert ids[0] == ids[1]
            assert place.partition("//")[0] in there.location(0)
    memory.rm(f"/{name}", recursive=True)


@pytest.fixture(scope="module", params=("webdataset", "parquet"))
def sound(tmp_path_factory, request):
    root = write(request.param, tmp_path_factory.mktemp("fuzz"), {str(i): png(i) for i in range(6)})
    (path,) = root.iterdir()
    return request.param, path, path.read_bytes()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=50)
def test_damaged_files_give_a_sentence_or_images_with_their_own_captions(sound, damage):
    kind, path, content = sound
    content = bytearray(content)
    for position, value in damage:
        content[int(position * (len(content) - 1))] = value
    path.write_bytes(content)
    os.utime(path, ns=(hash(bytes(content)) % 2**60,) * 2)
    try:
        source = read(kind, path)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert len(source) + source.report.num_skipped == source.report.total
    for i in range(len(source)):
        item = source[i]
        assert not item["caption"].isdigit() or item["caption"] == str(item["image"][0, 0, 0])
