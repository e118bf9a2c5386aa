"""Which members of a tar are read: links, tears, hostile headers, several archives in a file."""

import tarfile

import pytest

from dalle_jax.data.webdataset import WebDatasetSource
from tests.data.tars import found, link, pair, png, special, tar_bytes, write

GOOD = pair("good", 7)
ONLY_GOOD = {"0.tar/good": ("7",)}
REST = {"torn shard": ["0.tar (the rest of the shard)"]}


def of(tmp_path, *members):
    return found(WebDatasetSource, write(tmp_path / "0.tar", members))


def of_bytes(tmp_path, content):
    (tmp_path / "0.tar").write_bytes(content)
    return found(WebDatasetSource, tmp_path / "0.tar")


@pytest.mark.parametrize(
    ("member", "left_out"),
    [
        (link("b.cls", "nothing.cls"), {"link to no member of the shard": ["0.tar/b.cls"]}),
        (special("pipe", tarfile.FIFOTYPE), {"no regular file": ["0.tar/pipe"]}),
        (special("folder", tarfile.DIRTYPE), {}),
        (special("tty.png", tarfile.CHRTYPE), {"no regular file": ["0.tar/tty.png"]}),
        (special("hole.png", tarfile.GNUTYPE_SPARSE), {"sparse member": ["0.tar/hole.png"]}),
    ],
)
def test_members_without_content_are_left_out_and_named(tmp_path, member, left_out):
    items, report = of(tmp_path, *GOOD, member)
    assert items == ONLY_GOOD and report.left_out == left_out and not report.skipped


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_inside_a_shard_are_followed(tmp_path, kind):
    folder = "sub/" if kind == tarfile.LNKTYPE else ""
    members = [("sub/a.png", png(1)), ("sub/a.txt", b"1"), ("sub/c.txt", b"1")]
    for name in ("b.png", "b.txt", "c.png"):
        members.append(link(f"sub/{name}", f"{folder}a{name[-4:]}", kind))
    items, report = of(tmp_path, *members)
    assert items == {f"0.tar/sub/{key}": ("1",) for key in "abc"} and not report.left_out


@pytest.mark.parametrize(
    "links",
    [
        [("b.png", "b.png")],
        [("b.png", "c.png"), ("c.png", "b.png")],
        [("b.png", "../../etc/passwd")],
        [("b.png", "twice.png")],
    ],
)
@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_to_nothing_certain_are_left_out(tmp_path, links, kind):
    twice = [("twice.png", png(1)), ("twice.png", png(2))]
    items, report = of(tmp_path, *GOOD, *twice, *(link(*names, kind) for names in links))
    assert items == ONLY_GOOD
    assert len(report.left_out["link to no member of the shard"]) == len(links)


def test_archives_behind_an_end_mark_are_read(tmp_path):
    parts = [tar_bytes(pair(str(i), i), kind) for i, kind in enumerate([1, 2, 1])]
    items, report = of_bytes(tmp_path, b"".join(parts) + bytes(2**21 + 512))
    assert items == {f"0.tar/{i}": (str(i),) for i in range(3)} and not report.skipped


def test_a_key_in_two_archives_of_a_shard_is_skipped(tmp_path):
    content = tar_bytes([*pair("a", 1), *GOOD]) + tar_bytes(pair("a", 2))
    items, report = of_bytes(tmp_path, content)
    assert items == ONLY_GOOD and report.skipped == {"key twice in a shard": ["0.tar/a"]}


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
    items, report = found(WebDatasetSource, f"{tmp_path}/*.tar")
    assert items.items() >= ONLY_GOOD.items()
    ((why, names),) = report.skipped.items()
    assert why.startswith(reason) and names == ["1.tar (the rest of the shard)"]


def test_a_torn_shard_is_read_up_to_the_tear(tmp_path):
    path = write(tmp_path / "0.tar", [member for i in range(9) for member in pair(i, i)])
    path.write_bytes(path.read_bytes()[: 5 * 2048 + 1200])
    items, _ = found(WebDatasetSource, path, max_bad_share=0.4)
    assert [*items] == [f"0.tar/{i}" for i in range(5)]
    with pytest.raises(ValueError, match="5 of 7"):
        WebDatasetSource(path, "all")


def header_with(*fields):
    """A header in which content stands at some places, with the checksum that it then has."""
    header = bytearray(tar_bytes([("b.png", png(1))])[:512])
    for place, content in fields:
        header[place : place + len(content)] = content
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HOSTILE = {
    "a size below zero": header_with((124, b"\xff" * 10 + b"\xfc\0")),
    "a size beyond the file": header_with((124, b"77777777777\0")),
    "an endless size": header_with((124, b"\x80" + b"\x7f" * 11)),
    "no number": header_with((124, b"zzzzzzzzzzz\0")),
    "a negative octal size": header_with((124, b"-0000001000\0")),
    "a long name that is too long": header_with((124, b"00010000001\0"), (156, b"L")),
    "records of a header": header_with((124, b"00000001000\0"), (156, b"x")) + b"9" * 512,
    "an endless sparse header": header_with((156, b"S"))[:482] + b"\1" + bytes(29),
    "no checksum": b"b.png".ljust(512, b"\0"),
    "text": b"x" * 512,
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_header_ends_the_reading(tmp_path, header):
    items, report = of_bytes(tmp_path, tar_bytes(GOOD)[:2048] + header + tar_bytes(pair("z", 9)))
    assert items == ONLY_GOOD and report.skipped == REST


def test_behind_a_sparse_member_with_extended_headers_the_rest_is_read(tmp_path):
    content = bytes(512) + png(1).ljust(512, b"\0")
    header = header_with((156, b"S"), (482, b"\1"))
    items, report = of_bytes(tmp_path, header + content + tar_bytes(GOOD))
    assert items == ONLY_GOOD and report.left_out == {"sparse member": ["0.tar/b.png"]}


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
    with pytest.raises(ValueError, match=rf"0\.tar is compressed .* unpack it with {name}"):
        of_bytes(tmp_path, start + bytes(600))


def test_a_member_called_like_a_compression_is_no_compression(tmp_path):
    assert of(tmp_path, *pair("BZh9", 3))[0] == {"0.tar/BZh9": ("3",)}
