"""Samples of tar shards: which members belong together, and what is left out or skipped."""

import json
import os
import tarfile
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dalle_jax.data.webdataset import WebDatasetSource
from tests.data.pictures import SHARES
from tests.data.tars import found, link, pair, png, special, tar_bytes, write

GOOD = pair("good", 7)
ONLY_GOOD = {"0.tar/good": ("7",)}


def read(shards, **options):
    return found(WebDatasetSource, shards, **options)


def of(tmp_path, *members, kind=tarfile.GNU_FORMAT, **options):
    return read(write(tmp_path / "0.tar", members, kind), **options)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_one_key_are_one_sample(tmp_path, kind):
    long = "long/" * (20 if kind == tarfile.USTAR_FORMAT else 60) + "name"
    record = json.dumps({"caption": "4", "width": 4}).encode()
    members = [*pair("0001", 1), *pair("sub/0001", 2, "PNG", "caption"), *pair(long, 3)]
    write(tmp_path / "0.tar", [*members, ("drei ß.png", png(4)), ("drei ß.json", record)], kind)
    write(tmp_path / "1.tar", pair("0001", 5), kind)
    items, report = read(str(tmp_path / "*.tar"))
    keys = ("0.tar/0001", "0.tar/sub/0001", f"0.tar/{long}", "0.tar/drei ß", "1.tar/0001")
    assert items == {key: (str(i),) for i, key in enumerate(keys, 1)}
    assert not report.left_out and not report.skipped


KEYS = ["v1.0_000", "a.b.c", "2024.01.02/a", "x.tar/y.z", "a b", "ünï", "日本", "a..b", "-", "a\nb"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_key_with_an_image_and_a_caption_is_read(tmp_path, key, kind):
    items, report = of(tmp_path, *pair(key, 5), *GOOD, kind=kind)
    assert items == {**ONLY_GOOD, f"0.tar/{key}": ("5",)} and not report.skipped


@pytest.mark.parametrize(
    ("image", "text"),
    [
        *((f"{before}a.png", "a.txt") for before in ("./", "/", "//", "x/../", "././", "../")),
        ("u\u0308.png", "\u00fc.txt"),
    ],
)
def test_a_key_is_the_same_however_its_name_is_spelled(tmp_path, image, text):
    items, _ = of(tmp_path, (image, png(3)), (text, b"3"))
    assert items == {f"0.tar/{text[:-4]}": ("3",)}


TWICE, TWO = "key twice in a shard", "two images of one key"
FORM = "unreadable caption: JSON of another form"
IMAGE = ("a.png", png(1))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([*pair("a", 1), ("a.png", png(2))], TWICE),
        ([*pair("a", 1), ("a.txt", b"2")], TWICE),
        ([*pair("a", 1), *pair("a", 2)], TWICE),
        ([link("a.png", "nothing"), *pair("a", 2)], TWICE),
        ([*pair("a", 1), ("./a.png", png(2))], TWICE),
        ([*pair("a", 1), ("a.TXT", b"2")], TWICE),
        ([special("a.jpg", tarfile.GNUTYPE_SPARSE), *pair("a", 2)], TWO),
        ([*pair("a", 1), ("a.PNG", png(2))], TWO),
        ([*pair("a", 1), ("a.jpg", png(2)), ("a.json", b"{}")], TWO),
        ([IMAGE, ("a.jpg", png()), ("a.png.txt", b"x"), ("a.jpg.txt", b"y")], TWO),
        ([link("a.png", "nothing"), ("a.txt", b"2")], "no image"),
        ([("a.txt", b"1")], "no image"),
        ([IMAGE], "image without caption"),
        ([IMAGE, ("a.json", b"{}")], "image without caption"),
        ([IMAGE, ("a.txt", b" \n")], "empty caption"),
        ([IMAGE, ("a.txt", b"\xe2\x80\x8b")], "empty caption"),
        ([("a.png", png(1)[:-30]), ("a.txt", b"1")], "unreadable image"),
        ([("a.heic", b"heic"), ("a.txt", b"1")], "unreadable image"),
        ([("a.png", b""), ("a.txt", b"1")], "unreadable image: an empty file"),
        ([IMAGE, ("a.json", b"{")], "unreadable caption: not JSON"),
        ([IMAGE, ("a.json", b'{"caption": "1", "caption": "2"}')], FORM),
        ([IMAGE, ("a.json", b'{"caption": 3}')], FORM),
        (
            [IMAGE, ("a.txt", "é".encode("latin-1"))],
            "unreadable caption: not UTF-8 (cp1252? state encoding=cp1252)",
        ),
    ],
)
def test_what_is_not_certain_or_lacking_is_skipped_and_named(tmp_path, members, reason):
    items, report = of(tmp_path, *members, *GOOD)
    assert items == ONLY_GOOD and report.skipped == {reason: ["0.tar/a"]}


FURTHER, BESIDE = (
    "further member of a sample",
    "{} beside another caption (read where that is empty)",
)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.cls"], "suffix .cls"),
        (["good.npy", "a.npy"], "suffix .npy"),
        (["README"], "no suffix"),
        (["good.seg.png"], FURTHER),
        (["good.en.txt"], FURTHER),
        (["good.seg.png", "good.seg.json"], FURTHER),
        (["good.png.txt"], FURTHER),  # the stem comes first
        (["good.png.png.txt"], FURTHER),
        (["good.json"], BESIDE.format("json")),
        (["good.caption"], BESIDE.format("caption")),
        (["._good.png"], "hidden"),
        (["__MACOSX/good.txt"], "system file"),
    ],
)
def test_other_members_are_left_out_and_named(tmp_path, names, reason):
    items, report = of(tmp_path, *GOOD, *((name, png(1)) for name in names))
    assert items == ONLY_GOOD and not report.skipped
    assert report.left_out == {reason: [f"0.tar/{name}" for name in names]}
    assert reason in str(report)


def test_a_text_has_one_caption_a_line_and_json_may_have_several(tmp_path):
    items, _ = of(
        tmp_path,
        *(("a.png", png()), ("a.txt", "one\r\ntwo\u2028half\n\n three \r".encode())),
        *(("b.png", png()), ("b.json", b'{"caption": null, "text": "", "captions": ["x", "y"]}')),
        *(("c.png", png()), ("c.txt", b" "), ("c.json", b'{"caption": "of the json"}')),
        *(("d.png", png()), ("d.txt", "\ufeffutf-16".encode("utf-16-le"))),
        *pair("e", 5),
        *pair("e.", 6),
    )
    assert items == {
        "0.tar/a": ("one", "two\u2028half", "three"),
        "0.tar/b": ("x", "y"),
        "0.tar/c": ("of the json",),
        "0.tar/d": ("utf-16",),
        "0.tar/e": ("5",),
        "0.tar/e.": ("6",),
    }


@pytest.mark.parametrize(
    "names",
    [
        [f"{i}.{end}" for i in range(20) for end in ("input.jpg", "output.txt")],
        ["0.jpg", "0.cls", "1.jpg", "1.cls"],
        ["0.x", "0", "1.x", "1"],
    ],
)
def test_shards_without_any_pair_say_what_they_hold(tmp_path, names):
    with pytest.raises(ValueError, match="no image with a caption") as raised:
        of(tmp_path, *((name, png()) for name in names))
    endings = {name.partition(".")[2] or "no suffix" for name in names}
    assert all(end in str(raised.value) for end in (*endings, "txt, caption, json", "_column"))


@pytest.mark.parametrize(
    ("options", "captions"),
    [
        ({}, ("plain",)),
        ({"image_column": "in.png"}, ("plain",)),
        ({"image_column": "in.png", "caption_column": "out.txt"}, ("out",)),
        ({"caption_column": "json"}, ("of json",)),
        ({"caption_column": "long"}, ("long of json",)),
        ({"caption_column": "long,caption"}, ("long of json", "of json")),
        ({"caption_column": ".TXT"}, ("plain",)),
        ({"caption_column": "txt,long"}, ("plain",)),
        ({"caption_column": "out.txt,json,long", "image_column": "in.png"}, ("out",)),
    ],
)
def test_members_and_fields_are_taken_by_name(tmp_path, options, captions):
    record = json.dumps({"caption": "of json", "long": "long of json"}).encode()
    members = [("a.png", png(1)), ("a.in.png", png(2)), ("a.txt", b"plain"), ("a.out.txt", b"out")]
    assert of(tmp_path, *members, ("a.json", record), **options)[0] == {"0.tar/a": captions}


ALT = [
    (f"{key}.{end}", content) for key in "ab" for end, content in (("png", png()), ("txt", b"t"))
]
ALT += [("a.json", b'{"alt": "x", "blip": "y"}'), ("b.json", b'{"alt": "z"}')]


@pytest.mark.parametrize(
    ("members", "column", "message"),
    [
        (ALT, "alt,blipp", "=blipp names no field of the JSON in webdataset .*alt, blip"),
        *((ALT, c, "=blipp names no field") for c in ("blipp,alt", "blipp", "json,blipp")),
        (ALT, "alt,caption", "caption_column=caption names no field"),
        (ALT, "txt,blipp", "caption_column=blipp names no field"),
        (ALT, "txt,out.txt", r"=out\.txt needs .*\.out\.txt, of which .* 2 'txt', 2 'json'"),
        (ALT, "caption", r"caption_column=caption needs members that end in \.caption"),
        (GOOD, "txt,blipp", r"caption_column=blipp needs members .* \.json, of which"),
    ],
)
def test_a_mistyped_caption_is_refused_with_those_there_are(tmp_path, members, column, message):
    for _ in range(2):  # Nothing of it is stored.
        with pytest.raises(ValueError, match=message):
            of(tmp_path, *members, caption_column=column)
    if members is ALT:
        expected = {"0.tar/a": ("x", "y"), "0.tar/b": ("z",)}
        assert of(tmp_path, *members, caption_column="alt,blip")[0] == expected


@pytest.mark.parametrize(
    ("members", "key"),
    [
        *(
            ([("x/a.v1.png", png(7)), (f"x/a.v1.png.{end}", b"7")], "x/a.v1")
            for end in ("txt", "TXT")
        ),
        ([("a.png", png(7)), ("a.png.caption", b"7")], "a"),
        ([("a.png", png(7)), ("a.png.json", b'{"caption": "7"}')], "a"),
        ([("a.png.png", png(7)), ("a.png.txt", b"7")], "a.png"),
        ([("a.png", png(7)), ("a.png.txt", b"7"), ("b/a.png.txt", b"2")], "a"),
    ],
)
def test_a_caption_may_have_the_whole_name_of_its_image(tmp_path, members, key):
    items, report = of(tmp_path, *members, *GOOD)
    assert items == {**ONLY_GOOD, f"0.tar/{key}": ("7",)} and report.left_out == {}


def test_another_encoding_is_read_where_it_is_stated(tmp_path):
    members = [("a.png", png()), ("a.txt", "ä".encode("cp1252"))]
    members += [("b.png", png()), ("b.json", '{"text": "ä"}'.encode())]
    items, _ = of(tmp_path, *members, encoding="cp1252")
    assert items == {"0.tar/a": ("ä",), "0.tar/b": ("ä",)}


def test_a_folder_in_a_shard_that_is_named_as_a_split_is_noted(tmp_path):
    items, report = of(tmp_path, *pair("val/a", 1), *pair("data/Test/b", 2), *pair("latest/c", 3))
    ((note, names),) = report.noted.items()
    assert len(items) == 3 and "named as a split" in note
    assert names == ["0.tar/val/a", "0.tar/data/Test/b"]


def numbered(first, last):
    return [member for i in range(first, last) for member in pair(f"{i:03d}", i)]


def test_an_item_stays_in_its_split_whatever_else_is_loaded(tmp_path):
    def splits(shards):
        parts = (found(WebDatasetSource, shards, split, **SHARES)[0] for split in ("train", "test"))
        return [{*part.values()} for part in parts]

    write(tmp_path / "x" / "a" / "00.tar", numbered(0, 60))
    train, test = splits(f"{tmp_path}/x/*/*.tar")
    assert len(test) > 5
    write(tmp_path / "x" / "b" / "00.tar", numbered(60, 80))  # of the same file name
    write(tmp_path / "x" / "a" / "01.tar", numbered(80, 100))
    os.symlink(tmp_path / "x" / "a" / "00.tar", tmp_path / "x" / "b" / "0-link.tar")
    for spec in ("{}/x/*/*.tar", "{}/x/b/0*.tar::{}/x/a", "{}/**/*.tar"):
        more_train, more_test = splits(spec.replace("{}", str(tmp_path)))
        assert more_train >= train and more_test >= test and not more_train & more_test


def test_a_shard_behind_two_names_is_read_once(tmp_path):
    write(tmp_path / "0.tar", GOOD)
    os.symlink("0.tar", tmp_path / "1.tar")
    os.link(tmp_path / "0.tar", tmp_path / "2.tar")
    os.symlink(tmp_path, tmp_path / "again")
    items, report = read(f"{tmp_path}/**/*.tar::{tmp_path}/0.tar::{tmp_path}")
    assert items == ONLY_GOOD and report.total == 1


def test_ids_differ_where_shards_have_the_same_name(tmp_path):
    for folder in "ab":
        write(tmp_path / folder / "0.tar", GOOD)
    assert {*read(f"{tmp_path}/*/0.tar")[0]} == {"a/0.tar/good", "b/0.tar/good"}


@pytest.mark.filterwarnings("ignore:webdataset")
def test_the_signature_is_that_of_names_sizes_and_captions(tmp_path):
    def signature(members, **options):
        path = write(tmp_path / str(len([*tmp_path.iterdir()])) / "0.tar", members)
        return WebDatasetSource(path, **options).signature

    members = numbered(0, 9)
    first = signature(members)
    assert len(first) == 32
    assert signature(members, cache_dir=tmp_path / "cache") == first
    assert signature(members[::-1]) == signature([("0.cls", b"1"), *members]) == first
    others = [members[2:], [("000.png", png(size=(64, 64))), *members[1:]]]
    others.append([members[0], ("000.txt", b"else"), *members[2:]])
    assert len({first, *map(signature, others)}) == 4


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


KEY = st.sampled_from(["a", "b", "a.b", "x/a", "v1.0_0", "./a", "a.seg", "B"])
SUFFIX = st.sampled_from(["png", "PNG", "jpg", "txt", "caption", "json", "cls", "npy"])


@st.composite
def archives(draw):
    """Some tars in one file, of any members; each image's value is that of its key's captions."""
    values, made = {}, []
    for _ in range(draw(st.integers(1, 3))):
        members = []
        for key, suffix in draw(st.lists(st.tuples(KEY, SUFFIX), max_size=8)):
            value = values.setdefault(key.removeprefix("./"), len(values) + 1)
            value += draw(st.booleans()) * 100  # another content under the same key
            content = {
                "json": json.dumps({"caption": str(value)}).encode(),
                "txt": str(value).encode(),
                "caption": str(value).encode(),
            }.get(suffix, png(value))
            members.append((f"{key}.{suffix}", content))
        made.append(members)
    return made


@given(archives(), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@settings(max_examples=100)
def test_an_image_never_has_another_caption_and_nothing_goes_unnamed(fuzz_folder, made, kind):
    path = fuzz_folder / "1.tar"
    path.write_bytes(b"".join(tar_bytes(members, kind) for members in made))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = WebDatasetSource(path, "all", max_bad_share=1.0)
    except ValueError as error:
        assert "holds no items" in str(error) or "0 of" in str(error) or "no image" in str(error)
        return
    contents = {}
    for name, content in (member for part in made for member in part):
        contents.setdefault(name.removeprefix("./"), []).append(content)
    used = set()
    for item in (source[i] for i in range(len(source))):
        key = item["id"].removeprefix("1.tar/")
        of_key = [name for name in contents if name.rpartition(".")[0] == key]
        (image,) = [name for name in of_key if name.lower().endswith((".png", ".jpg"))]
        assert contents[image] == [png(item["image"][0, 0, 0])]
        texts = [contents[name][0] for name in of_key if name != image]
        assert any(item["caption"].encode() in text for text in texts)
        used.add(key)
    report = source.report
    named = {
        name for part in (report.skipped, report.left_out) for n in part.values() for name in n
    }
    for name in contents:
        key = name.rpartition(".")[0]
        assert key in used or named & {f"1.tar/{key}", f"1.tar/{name}"}
