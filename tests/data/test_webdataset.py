import json
import os
import tarfile
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dalle_jax.data.webdataset import WebDatasetSource

from .tars import link, pair, png, special, tar_bytes, write


def read(shards, **options):
    """The captions of all good items by id, and the report; each image is that of its captions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = WebDatasetSource(shards, "all", max_bad_share=1.0, **options)
    items = [source[i] for i in range(len(source))]
    for item in items:
        # `pair` writes the image's value into its caption.
        if all(caption.isdigit() for caption in item["captions"]):
            assert item["captions"] == (str(item["image"][0, 0, 0]),)
    return {item["id"]: item["captions"] for item in items}, source.report


def of(tmp_path, *members, kind=tarfile.GNU_FORMAT, **options):
    return read(write(tmp_path / "0.tar", members, kind), **options)


GOOD = pair("good", 7)
ONLY_GOOD = {"0.tar/good": ("7",)}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_one_key_are_one_sample(tmp_path, kind):
    long = "long/" * (20 if kind == tarfile.USTAR_FORMAT else 60) + "name"
    members = [
        *pair("0001", 1),
        *pair("sub/0001", 2, "PNG", "caption"),
        *pair(long, 3),
        *pair("drei ß", 4, text="json"),
    ]
    members[-1] = ("drei ß.json", json.dumps({"caption": "4", "width": 4}).encode())
    write(tmp_path / "0.tar", members, kind)
    write(tmp_path / "1.tar", pair("0001", 5), kind)
    found, report = read(str(tmp_path / "*.tar"))
    assert found == {
        "0.tar/0001": ("1",),
        "0.tar/sub/0001": ("2",),
        f"0.tar/{long}": ("3",),
        "0.tar/drei ß": ("4",),
        "1.tar/0001": ("5",),
    }
    assert not report.left_out and not report.skipped


KEYS = ["v1.0_000", "a.b.c", "2024.01.02/a", "x.tar/y.z", "a b", "ünï", "日本", "a..b", "-", "a\nb"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_key_with_an_image_and_a_caption_is_read(tmp_path, key, kind):
    found, report = of(tmp_path, *pair(key, 5), *GOOD, kind=kind)
    assert found == {**ONLY_GOOD, f"0.tar/{key}": ("5",)} and not report.skipped


@pytest.mark.parametrize(
    "spelled", ["./a.png", "/a.png", "//a.png", "x/../a.png", "././a.png", "../a.png"]
)
def test_a_key_is_the_same_however_its_name_is_spelled(tmp_path, spelled):
    found, _ = of(tmp_path, (spelled, png(3)), ("a.txt", b"3"))
    assert found == {"0.tar/a": ("3",)}


def test_names_in_two_forms_of_unicode_are_one_key(tmp_path):
    found, _ = of(tmp_path, ("u\u0308.png", png(3)), ("\u00fc.txt", b"3"))
    assert found == {"0.tar/\u00fc": ("3",)}


TWICE = {"key twice in a shard": ["0.tar/a"]}
TWO = {"two images of one key": ["0.tar/a"]}


@pytest.mark.parametrize(
    ("members", "skipped"),
    [
        ([*pair("a", 1), ("a.png", png(2))], TWICE),
        ([*pair("a", 1), ("a.txt", b"2")], TWICE),
        ([*pair("a", 1), *pair("a", 2)], TWICE),
        ([link("a.png", "nothing"), *pair("a", 2)], TWICE),
        ([special("a.jpg", tarfile.GNUTYPE_SPARSE), *pair("a", 2)], TWO),
        ([link("a.png", "nothing"), ("a.txt", b"2")], {"no image": ["0.tar/a"]}),
        ([*pair("a", 1), ("./a.png", png(2))], TWICE),
        ([*pair("a", 1), ("a.PNG", png(2))], TWO),
        ([*pair("a", 1), ("a.jpg", png(2))], TWO),
        ([*pair("a", 1), ("a.jpg", png(2)), ("a.json", b"{}")], TWO),
        ([*pair("a", 1), ("a.TXT", b"2")], TWICE),
        ([*pair("a", 1), *pair("a.", 2)], {}),
        ([("a.png", png(1))], {"image without caption": ["0.tar/a"]}),
        ([("a.txt", b"1")], {"no image": ["0.tar/a"]}),
        ([("a.png", png(1)), ("a.txt", b" \n")], {"empty caption": ["0.tar/a"]}),
        ([("a.png", png(1)), ("a.txt", b"\xe2\x80\x8b")], {"empty caption": ["0.tar/a"]}),
        ([("a.png", png(1)[:-30]), ("a.txt", b"1")], {"unreadable image": ["0.tar/a"]}),
        ([("a.heic", b"heic"), ("a.txt", b"1")], {"unreadable image": ["0.tar/a"]}),
        ([("a.png", b""), ("a.txt", b"1")], {"unreadable image: an empty file": ["0.tar/a"]}),
        ([("a.png", png(1)), ("a.json", b"{")], {"unreadable caption: not JSON": ["0.tar/a"]}),
        ([("a.png", png(1)), ("a.json", b"{}")], {"image without caption": ["0.tar/a"]}),
        (
            [("a.png", png(1)), ("a.json", b'{"caption": "1", "caption": "2"}')],
            {"unreadable caption: JSON of another form": ["0.tar/a"]},
        ),
        (
            [("a.png", png(1)), ("a.json", b'{"caption": 3}')],
            {"unreadable caption: JSON of another form": ["0.tar/a"]},
        ),
        (
            [("a.png", png(1)), ("a.txt", "é".encode("latin-1"))],
            {"unreadable caption: not UTF-8 (cp1252? state encoding=cp1252)": ["0.tar/a"]},
        ),
    ],
)
def test_what_is_not_certain_or_lacking_is_skipped_and_named(tmp_path, members, skipped):
    found, report = of(tmp_path, *members, *GOOD)
    assert found.items() >= ONLY_GOOD.items() and report.skipped == skipped
    assert not skipped or found == ONLY_GOOD


@pytest.mark.parametrize(
    ("members", "left_out"),
    [
        ([("a.cls", b"1")], {"suffix .cls": ["0.tar/a.cls"]}),
        ([("good.npy", b"1"), ("a.npy", b"")], {"suffix .npy": ["0.tar/good.npy", "0.tar/a.npy"]}),
        ([("README", b"x")], {"no suffix": ["0.tar/README"]}),
        ([("good.seg.png", png(1))], {"further member of a sample": ["0.tar/good.seg.png"]}),
        ([("good.en.txt", b"1")], {"further member of a sample": ["0.tar/good.en.txt"]}),
        (
            [("good.seg.png", png(1)), ("good.seg.json", b"{}")],
            {"further member of a sample": ["0.tar/good.seg.png", "0.tar/good.seg.json"]},
        ),
        (
            [("good.json", b"{}")],
            {"json beside another caption (read where that is empty)": ["0.tar/good.json"]},
        ),
        ([("._good.png", b"x")], {"hidden": ["0.tar/._good.png"]}),
        ([("__MACOSX/good.txt", b"x")], {"system file": ["0.tar/__MACOSX/good.txt"]}),
        ([link("b.cls", "nothing.cls")], {"link to no member of the shard": ["0.tar/b.cls"]}),
        ([special("pipe", tarfile.FIFOTYPE)], {"no regular file": ["0.tar/pipe"]}),
        ([special("folder", tarfile.DIRTYPE)], {}),
        ([special("tty.png", tarfile.CHRTYPE)], {"no regular file": ["0.tar/tty.png"]}),
        ([special("hole.png", tarfile.GNUTYPE_SPARSE)], {"sparse member": ["0.tar/hole.png"]}),
    ],
)
def test_other_members_are_left_out_and_named(tmp_path, members, left_out):
    found, report = of(tmp_path, *GOOD, *members)
    assert found == ONLY_GOOD and report.left_out == left_out and not report.skipped
    assert all(reason in str(report) for reason in left_out)


def test_a_text_has_one_caption_a_line_and_json_may_have_several(tmp_path):
    found, _ = of(
        tmp_path,
        *(("a.png", png()), ("a.txt", "one\r\ntwo\u2028half\n\n three \r".encode())),
        *(("b.png", png()), ("b.json", b'{"caption": null, "text": "", "captions": ["x", "y"]}')),
        *(("c.png", png()), ("c.txt", b" "), ("c.json", b'{"caption": "of the json"}')),
        *(("d.png", png()), ("d.txt", "\ufeffutf-16".encode("utf-16-le"))),
    )
    assert found == {
        "0.tar/a": ("one", "two\u2028half", "three"),
        "0.tar/b": ("x", "y"),
        "0.tar/c": ("of the json",),
        "0.tar/d": ("utf-16",),
    }


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_inside_a_shard_are_followed(tmp_path, kind):
    members = [("sub/a.png", png(1)), ("sub/a.txt", b"1")]
    target = "sub/a." if kind == tarfile.LNKTYPE else "a."
    members += [link("sub/b.png", f"{target}png", kind), link("sub/b.txt", f"{target}txt", kind)]
    members += [link("sub/c.png", f"{target}png", kind), ("sub/c.txt", b"1")]
    found, report = of(tmp_path, *members)
    assert found == {f"0.tar/sub/{key}": ("1",) for key in "abc"} and not report.left_out


@pytest.mark.parametrize(
    ("links", "count"),
    [
        ([("b.png", "b.png")], 1),  # to itself
        ([("b.png", "c.png"), ("c.png", "b.png")], 2),  # in a circle
        ([("b.png", "../../etc/passwd")], 1),
        ([("b.png", "twice.png")], 1),
    ],
)
@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_to_nothing_certain_are_left_out(tmp_path, links, count, kind):
    twice = [("twice.png", png(1)), ("twice.png", png(2))]
    found, report = of(tmp_path, *GOOD, *twice, *(link(*names, kind) for names in links))
    assert found == ONLY_GOOD
    assert len(report.left_out["link to no member of the shard"]) == count


def test_archives_behind_an_end_mark_are_read(tmp_path):
    parts = [tar_bytes(pair(str(i), i), kind) for i, kind in enumerate([1, 2, 1])]
    (tmp_path / "0.tar").write_bytes(b"".join(parts) + bytes(2**21 + 512))
    found, report = read(tmp_path / "0.tar")
    assert found == {f"0.tar/{i}": (str(i),) for i in range(3)} and not report.skipped


def test_a_key_in_two_archives_of_a_shard_is_skipped(tmp_path):
    (tmp_path / "0.tar").write_bytes(tar_bytes([*pair("a", 1), *GOOD]) + tar_bytes(pair("a", 2)))
    found, report = read(tmp_path / "0.tar")
    assert found == ONLY_GOOD and report.skipped == TWICE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tar_bytes(GOOD) + b"x" * 600, "no tar behind the end mark of a tar"),
        (tar_bytes(GOOD)[:2048] + b"x" * 600, "torn shard"),
        (tar_bytes(GOOD)[:2048], "torn shard"),  # without an end mark
        (b"", "empty file"),
        (b"<html>404</html>", "no tar"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_tar_is_named(tmp_path, content, reason):
    (tmp_path / "1.tar").write_bytes(content)
    write(tmp_path / "0.tar", GOOD)
    found, report = read(f"{tmp_path}/*.tar")
    assert found.items() >= ONLY_GOOD.items()
    ((why, names),) = report.skipped.items()
    assert why.startswith(reason) and names == ["1.tar (the rest of the shard)"]


def test_a_torn_shard_is_read_up_to_the_tear(tmp_path):
    path = write(tmp_path / "0.tar", [member for i in range(9) for member in pair(i, i)])
    path.write_bytes(path.read_bytes()[: 5 * 2048 + 1200])
    with pytest.warns(UserWarning, match=r"torn shard \(0\.tar"):
        source = WebDatasetSource(str(path), "all", max_bad_share=0.4)
    assert [source[i]["id"] for i in range(len(source))] == [f"0.tar/{i}" for i in range(5)]
    with pytest.raises(ValueError, match="5 of 7"):
        WebDatasetSource(str(path), "all")


def header_with(field, content, length=12):
    header = bytearray(tar_bytes([("b.png", png(1))])[:512])
    header[field : field + length] = content
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HOSTILE = {
    "a size below zero": header_with(124, b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")),
    "a size beyond the file": header_with(124, b"77777777777\0"),
    "an endless size": header_with(124, b"\x80" + b"\x7f" * 11),
    "no number": header_with(124, b"zzzzzzzzzzz\0"),
    "a negative octal size": header_with(124, b"-0000001000\0"),
    "a long name that is too long": header_with(124, b"00010000001\0" + b" " * 20 + b"L", 33),
    "records of a header": header_with(124, b"00000001000\0" + b" " * 20 + b"x", 33) + b"9" * 512,
    "an endless sparse header": header_with(156, b"S", 1)[:482] + b"\1" + bytes(29),
    "no checksum": b"b.png".ljust(512, b"\0"),
    "text": b"x" * 512,
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_ends_the_reading(tmp_path, header):
    (tmp_path / "0.tar").write_bytes(tar_bytes(GOOD)[:2048] + header + tar_bytes(pair("z", 9)))
    found, report = read(tmp_path / "0.tar")
    assert found == ONLY_GOOD
    assert report.skipped == {"torn shard": ["0.tar (the rest of the shard)"]}


def test_sparse_members_of_gnu_tar_are_left_out_and_the_rest_is_read(tmp_path):
    # Extended headers of the old format: what follows the member is still found.
    header = bytearray(header_with(156, b"S", 1))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = bytes(512) + png(1).ljust(512, b"\0")
    (tmp_path / "0.tar").write_bytes(bytes(header) + content + tar_bytes(GOOD))
    found, report = read(tmp_path / "0.tar")
    assert found == ONLY_GOOD and report.left_out == {"sparse member": ["0.tar/b.png"]}


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\x1f\x8b\x08", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"BZh9", "bunzip2"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"PK\x03\x04", "unzip"),
    ],
)
def test_a_compressed_shard_is_refused_by_what_it_holds(tmp_path, start, name):
    (tmp_path / "0.tar").write_bytes(start + bytes(600))
    with pytest.raises(ValueError, match=rf"0\.tar is compressed .* unpack it with {name}"):
        WebDatasetSource(tmp_path / "0.tar")


def test_a_member_called_like_a_compression_is_no_compression(tmp_path):
    assert of(tmp_path, *pair("BZh9", 3))[0] == {"0.tar/BZh9": ("3",)}


@pytest.mark.parametrize(
    "members",
    [
        [(f"{i}.input.jpg", png(), f"{i}.output.txt") for i in range(20)],
        [(f"{i}.jpg", png(), f"{i}.cls") for i in range(3)],
        [(f"{i}.x", png(), f"{i}") for i in range(3)],
    ],
)
def test_shards_without_any_pair_say_what_they_hold(tmp_path, members):
    members = [member for a, content, b in members for member in ((a, content), (b, b"x"))]
    write(tmp_path / "0.tar", members)
    with pytest.raises(ValueError, match="no image with a caption") as raised:
        read(tmp_path / "0.tar")
    endings = {name.partition(".")[2] or "no suffix" for name, _ in members}
    assert all(ending in str(raised.value) for ending in endings)
    assert "txt, caption, json" in str(raised.value) and "caption_column" in str(raised.value)


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
    record = {"caption": "of json", "long": "long of json"}
    members = [("a.png", png(1)), ("a.in.png", png(2)), ("a.txt", b"plain"), ("a.out.txt", b"out")]
    path = write(tmp_path / "0.tar", [*members, ("a.json", json.dumps(record).encode())])
    found, _ = read(path, **options)
    assert found == {"0.tar/a": captions}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("alt,blipp", "caption_column=blipp names no field of the JSON in webdataset .*alt, blip"),
        ("blipp,alt", "caption_column=blipp names no field"),
        ("blipp", "caption_column=blipp names no field"),
        ("alt,caption", "caption_column=caption names no field"),
        ("json,blipp", "caption_column=blipp names no field"),
        ("txt,blipp", "caption_column=blipp names no field"),
        ("txt,out.txt", r"=out\.txt needs members .*\.out\.txt, of which .* 2 'txt', 2 'json'"),
        ("caption", r"caption_column=caption needs members that end in \.caption"),
    ],
)
def test_a_mistyped_caption_is_refused_with_those_there_are(tmp_path, column, message):
    path = write(tmp_path / "0.tar", [*member_of("a", alt="x", blip="y"), *member_of("b", alt="z")])
    for _ in range(2):  # Nothing of it is kept.
        with pytest.raises(ValueError, match=message):
            read(path, caption_column=column)
    assert read(path, caption_column="alt,blip")[0] == {"0.tar/a": ("x", "y"), "0.tar/b": ("z",)}


def member_of(key, **record):
    text = [(f"{key}.txt", b"text")]
    return [(f"{key}.png", png()), *text, (f"{key}.json", json.dumps(record).encode())]


def test_a_mistyped_caption_without_any_json_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"caption_column=blipp needs members .* \.json, of which"):
        of(tmp_path, *GOOD, caption_column="txt,blipp")


@pytest.mark.parametrize("end", ["txt", "caption", "json", "TXT"])
def test_a_caption_may_have_the_whole_name_of_its_image(tmp_path, end):
    text = b'{"caption": "7"}' if end == "json" else b"7"
    members = [("x/a.v1.png", png(7)), (f"x/a.v1.png.{end}", text), *pair("b", 8)]
    found, report = of(tmp_path, *members)
    assert found == {"0.tar/x/a.v1": ("7",), "0.tar/b": ("8",)} and report.left_out == {}


@pytest.mark.parametrize(
    ("members", "found", "left_out"),
    [  # The stem comes first, and another folder's image is another image.
        ([*pair("a", 1), ("a.png.txt", b"2")], {"a": ("1",)}, ["0.tar/a.png.txt"]),
        ([*pair("a", 1), ("b/a.png.txt", b"2")], {"a": ("1",)}, []),
        ([*pair("a", 1), ("a.png.png.txt", b"2")], {"a": ("1",)}, ["0.tar/a.png.png.txt"]),
        ([("a.png.png", png(1)), ("a.png.txt", b"1")], {"a.png": ("1",)}, []),
        ([("a.png", png(1)), ("a.png.txt", b"1"), ("a.cls", b"2")], {"a": ("1",)}, []),
    ],
)
def test_the_whole_name_of_an_image_comes_after_its_key(tmp_path, members, found, left_out):
    items, report = of(tmp_path, *members)
    assert items == {f"0.tar/{key}": captions for key, captions in found.items()}
    assert report.left_out.get("further member of a sample", []) == left_out


def test_two_images_of_a_key_with_whole_names_are_named(tmp_path):
    members = [("a.png", png()), ("a.jpg", png()), ("a.png.txt", b"x"), ("a.jpg.txt", b"y"), *GOOD]
    found, report = of(tmp_path, *members)
    assert found == ONLY_GOOD and report.skipped == {"two images of one key": ["0.tar/a"]}


def test_another_encoding_is_read_where_it_is_stated(tmp_path):
    members = [("a.png", png()), ("a.txt", "ä".encode("cp1252"))]
    members += [("b.png", png()), ("b.json", '{"text": "ä"}'.encode())]
    found, _ = of(tmp_path, *members, encoding="cp1252")
    assert found == {"0.tar/a": ("ä",), "0.tar/b": ("ä",)}


def splits(shards):
    """The captions of each split."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = {"validation_share": 0.3, "test_share": 0.3}
        sources = [WebDatasetSource(shards, name, **shares) for name in ("train", "test")]
    return [{source[i]["caption"] for i in range(len(source))} for source in sources]


def numbered(first, last):
    return [member for i in range(first, last) for member in pair(f"{i:03d}", i)]


def test_an_item_stays_in_its_split_whatever_else_is_opened(tmp_path):
    write(tmp_path / "x" / "a" / "00.tar", numbered(0, 60))
    train, test = splits(f"{tmp_path}/x/*/*.tar")
    assert len(test) > 5
    write(tmp_path / "x" / "b" / "00.tar", numbered(60, 80))  # of the same file name
    write(tmp_path / "x" / "a" / "01.tar", numbered(80, 100))
    os.symlink(tmp_path / "x" / "a" / "00.tar", tmp_path / "x" / "b" / "0-link.tar")
    for spec in (
        f"{tmp_path}/x/*/*.tar",
        f"{tmp_path}/x/b/0*.tar::{tmp_path}/x/a",
        f"{tmp_path}/**/*.tar",
    ):
        more_train, more_test = splits(spec)
        assert more_train >= train and more_test >= test and not more_train & more_test


def test_a_shard_behind_two_names_is_read_once(tmp_path):
    write(tmp_path / "0.tar", GOOD)
    os.symlink("0.tar", tmp_path / "1.tar")
    os.link(tmp_path / "0.tar", tmp_path / "2.tar")
    os.symlink(tmp_path, tmp_path / "again")
    found, report = read(f"{tmp_path}/**/*.tar::{tmp_path}/0.tar::{tmp_path}")
    assert found == ONLY_GOOD and report.total == 1


def test_ids_differ_where_shards_have_the_same_name(tmp_path):
    for folder in "ab":
        write(tmp_path / folder / "0.tar", GOOD)
    found, _ = read(f"{tmp_path}/*/0.tar")
    assert set(found) == {"a/0.tar/good", "b/0.tar/good"}


def test_the_signature_is_that_of_names_sizes_and_captions(tmp_path):
    def signature(folder, members, **options):
        write(tmp_path / folder / "0.tar", members)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec = str(tmp_path / folder)
            sources = [WebDatasetSource(spec, split, **options) for split in ("train", "all")]
        assert sources[0].signature == sources[1].signature
        return sources[0].signature

    members = numbered(0, 9)
    first = signature("a", members)
    assert len(first) == 32
    assert signature("elsewhere", members, cache_dir=tmp_path / "cache") == first
    assert signature("b", members[::-1]) == first
    assert signature("c", [("0.cls", b"1"), *members]) == first
    assert signature("d", members[2:]) != first
    assert signature("e", [("000.png", png(size=(64, 64))), *members[1:]]) != first
    assert signature("f", [members[0], ("000.txt", b"else"), *members[2:]]) != first


def img2dataset(tmp_path, before, image):
    record = {"url": "x", "caption": "a", "key": "0", "width": 64, "height": 64}
    record |= {"original_width": before[0], "original_height": before[1]}
    image.save(tmp_path / "0.png")
    members = [("0.png", (tmp_path / "0.png").read_bytes()), ("0.txt", b"a caption")]
    write(tmp_path / "00000.tar", [*members, ("0.json", json.dumps(record).encode())])
    (tmp_path / "00000_stats.json").write_text("{}")
    (tmp_path / "00000.parquet").write_bytes(b"PAR1")
    found, report = read(str(tmp_path))
    assert found == {"00000.tar/0": ("a caption",)}
    return report.noted


def with_border(box, color="gray"):
    image = Image.new("RGB", (64, 64), "white")
    image.paste(Image.new("RGB", (box[2] - box[0], box[3] - box[1]), color), box)
    return image


@pytest.mark.parametrize(
    ("before", "image", "bordered"),
    [
        ((640, 320), with_border((0, 16, 64, 48)), True),
        ((320, 640), with_border((16, 0, 48, 64)), True),
        ((640, 320), with_border((16, 0, 48, 64)), False),
        ((640, 640), with_border((16, 16, 48, 48)), False),  # white is what was there
        ((640, 320), with_border((0, 0, 64, 64)), False),  # a crop
        ((640, 630), with_border((0, 0, 64, 64)), False),
        ((-1, None), with_border((0, 16, 64, 48)), False),
    ],
)
def test_bordered_squares_of_img2dataset_are_named(tmp_path, before, image, bordered):
    noted = img2dataset(tmp_path, before, image)
    assert [*noted.values()] == ([["00000.tar/0"]] if bordered else [])
    assert all("resize_mode=border" in note for note in noted)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    members = [member for i in range(3) for member in pair(i, i + 1)]
    return tmp_path_factory.mktemp("fuzz"), tar_bytes(members)


KEY = st.sampled_from(["a", "b", "a.b", "x/a", "v1.0_0", "./a", "a.seg", "B"])
SUFFIX = st.sampled_from(["png", "PNG", "jpg", "txt", "caption", "json", "cls", "npy"])


@st.composite
def archives(draw):
    """Some tars in one file, of any members; each image's value is that of its key's captions."""
    values = {}
    made = []
    for _ in range(draw(st.integers(1, 3))):
        members = []
        for key, suffix in draw(st.lists(st.tuples(KEY, SUFFIX), max_size=8)):
            value = values.setdefault(key.removeprefix("./"), len(values) + 1)
            again = draw(st.booleans()) * 100  # another content under the same key
            content = {
                "json": json.dumps({"caption": str(value + again)}).encode(),
                "txt": str(value + again).encode(),
                "caption": str(value + again).encode(),
            }.get(suffix, png(value + again))
            members.append((f"{key}.{suffix}", content))
        made.append(members)
    return made


@given(archives(), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@settings(max_examples=100, deadline=None)
def test_an_image_never_has_another_caption_and_nothing_goes_unnamed(sound, made, kind):
    path = sound[0] / "1.tar"
    path.write_bytes(b"".join(tar_bytes(members, kind) for members in made))
    members = [member for part in made for member in part]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = WebDatasetSource(path, "all", max_bad_share=1.0)
    except ValueError as error:
        assert "holds no items" in str(error) or "0 of" in str(error) or "no image" in str(error)
        return
    contents = {}
    for name, content in members:
        contents.setdefault(name.removeprefix("./"), []).append(content)
    used = set()
    for i in range(len(source)):
        item = source[i]
        key = item["id"].removeprefix("1.tar/")
        (image,) = [
            name
            for name in contents
            if name.lower() in (f"{key}.png".lower(), f"{key}.jpg".lower())
            and name.startswith(key + ".")
        ]
        assert contents[image] == [png(item["image"][0, 0, 0])]
        texts = [name for name in contents if name.rpartition(".")[0] == key and name != image]
        assert any(item["caption"].encode() in contents[name][0] for name in texts if "." in name)
        used.add(key)
    named = [
        n
        for part in (source.report.skipped, source.report.left_out)
        for names in part.values()
        for n in names
    ]
    for name in contents:
        key = name.rpartition(".")[0]
        assert key in used or f"1.tar/{key}" in named or f"1.tar/{name}" in named


def test_a_second_caption_member_is_left_out_by_name(tmp_path):
    members = [*GOOD, ("good.caption", b"8"), *pair("b", 9, text="caption")]
    found, report = of(tmp_path, *members)
    assert found == ONLY_GOOD | {"0.tar/b": ("9",)}
    reason = "caption beside another caption (read where that is empty)"
    assert report.left_out == {reason: ["0.tar/good.caption"]}


def test_a_folder_in_a_shard_that_is_named_as_a_split_is_noted(tmp_path):
    found, report = of(tmp_path, *pair("val/a", 1), *pair("data/Test/b", 2), *pair("latest/c", 3))
    ((note, names),) = report.noted.items()
    assert len(found) == 3 and "named as a split" in note
    assert names == ["0.tar/val/a", "0.tar/data/Test/b"]
