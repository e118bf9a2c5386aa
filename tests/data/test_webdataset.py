import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dalle_jax.data import webdataset
from dalle_jax.data.open import open_source
from dalle_jax.data.webdataset import WebDatasetSource, build_index, expand


def png(value=0):
    file = io.BytesIO()
    Image.new("RGB", (4, 3), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(path, members, kind=tarfile.GNU_FORMAT):
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def items(source):
    return {item["id"]: item for item in (source[i] for i in range(len(source)))}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_members_of_one_key(tmp_path, kind):
    long = "long/" * 40 + "name"
    write(
        tmp_path / "0.tar",
        [
            ("0001.png", png(1)),
            ("0001.txt", b"one"),
            ("0001.meta.json", b"{}"),
            ("sub/0001.json", json.dumps({"caption": "two", "width": 4}).encode()),
            ("sub/0001.PNG", png(2)),
            (f"{long}.txt", "drei ß".encode()),
            (f"{long}.png", png(3)),
            ("README", b"no sample"),
        ],
        kind,
    )
    write(tmp_path / "1.tar", [("0001.png", png(4)), ("0001.caption", b"\xef\xbb\xbffour\n")], kind)
    found = items(WebDatasetSource(str(tmp_path / "*.tar"), "all"))
    assert {key: item["caption"] for key, item in found.items()} == {
        "0.tar/0001": "one",
        "0.tar/sub/0001": "two",
        f"0.tar/{long}": "drei ß",
        "1.tar/0001": "four",
    }
    assert [item["image"][0, 0, 0] for item in found.values()] == [1, 2, 3, 4]


def test_bad_samples_are_skipped_and_named(tmp_path):
    members = [
        ("good.png", png()),
        ("good.txt", b"good"),
        ("torn.png", png()[:-30]),
        ("torn.txt", b"torn"),
        ("blank.png", png()),
        ("blank.txt", b" \n"),
        ("alone.png", png()),
        ("words.txt", b"words"),
        ("code.png", png()),
        ("code.json", b'{"caption": 3}'),
        ("latin.png", png()),
        ("latin.txt", "é".encode("latin-1")),
    ]
    path = write(tmp_path / "0.tar", members)
    with pytest.raises(ValueError, match="1 of 7"):
        WebDatasetSource(str(path), "all")
    with pytest.warns(UserWarning, match="6 skipped|skipped"):
        source = WebDatasetSource(str(path), "all", max_bad_share=0.9)
    assert set(items(source)) == {"0.tar/good"}
    assert {why: sorted(names) for why, names in source.report.skipped.items()} == {
        "unreadable image": ["0.tar/torn"],
        "empty caption": ["0.tar/blank"],
        "image without caption": ["0.tar/alone"],
        "no image": ["0.tar/words"],
        "unreadable caption": ["0.tar/code", "0.tar/latin"],
    }


def test_a_torn_shard_keeps_what_stands_before_the_tear(tmp_path):
    members = [
        (f"{i}.{e}", png() if e == "png" else b"x") for i in range(9) for e in ("txt", "png")
    ]
    path = write(tmp_path / "0.tar", members)
    path.write_bytes(path.read_bytes()[: 5 * 2048 + 1200])
    with pytest.warns(UserWarning, match=r"torn shard \(0\.tar"):
        source = WebDatasetSource(str(path), "all", max_bad_share=0.4)
    assert sorted(items(source)) == [f"0.tar/{i}" for i in range(5)]


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    members = [
        (f"{i}.{e}", png() if e == "png" else b"x") for i in range(3) for e in ("txt", "png")
    ]
    return write(tmp_path_factory.mktemp("fuzz") / "0.tar", members)


@given(st.lists(st.tuples(st.integers(0, 6 * 1024), st.integers(0, 255)), min_size=1, max_size=6))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_shards_never_lead_out_of_the_file(shard, tmp_path, damage):
    content = bytearray(shard.read_bytes())
    for position, value in damage:
        content[position] = value
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    keys, rows = build_index([path])
    assert len(keys) == len(rows)
    for offset, size in (*rows[:, 1:3], *rows[:, 3:5]):
        assert offset == -1 or (offset >= 0 and size >= 0 and offset + size <= len(content))


def test_a_size_below_zero_ends_the_reading(tmp_path):
    path = write(tmp_path / "0.tar", [("a.txt", b"x"), ("b.txt", b"x"), ("c.txt", b"x")])
    content = bytearray(path.read_bytes())
    header = content[1024:1536]
    header[124:136] = b"\xff" * 10 + (-1024 & 0xFFFF).to_bytes(2, "big")  # Base-256 for −1024.
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[1024:1536] = header
    path.write_bytes(content)
    keys, rows = build_index([path])
    assert keys == ["0.tar/a", "0.tar (the rest of the shard)"] and rows[1, 0] == -1


def test_the_index_is_built_once_and_again_when_a_shard_changes(tmp_path, monkeypatch):
    path = write(tmp_path / "0.tar", [("a.png", png()), ("a.txt", b"a")])
    WebDatasetSource(str(path), "all", cache_dir=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(webdataset, "build_index", None)
        source = WebDatasetSource(str(path), "all", cache_dir=tmp_path / "cache")
    assert source[0]["caption"] == "a" and len(list(tmp_path.iterdir())) == 2
    write(path, [("a.png", png()), ("a.txt", b"other"), ("b.png", png()), ("b.txt", b"b")])
    source = WebDatasetSource(str(path), "all", cache_dir=tmp_path / "cache")
    assert [source[i]["caption"] for i in range(2)] == ["other", "b"]
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(b"torn")
    assert len(WebDatasetSource(str(path), "all", cache_dir=tmp_path / "cache")) == 2


def test_ranges_globs_and_lists_of_shards(tmp_path):
    for i in range(3):
        write(tmp_path / f"{i:03d}.tar", [])
    everything = [tmp_path / f"{i:03d}.tar" for i in range(3)]
    assert expand(str(tmp_path / "{000..002}.tar")) == everything
    assert expand(str(tmp_path / "*.tar")) == everything
    assert expand([str(tmp_path / "002.tar"), str(tmp_path / "{000..001}.tar")]) == everything
    with pytest.raises(FileNotFoundError, match=r"003\.tar"):
        expand(str(tmp_path / "{000..003}.tar"))
    with pytest.raises(FileNotFoundError, match="no tar shard"):
        WebDatasetSource(str(tmp_path / "*.tgz"))


def test_a_compressed_shard_is_a_sentence(tmp_path):
    with tarfile.open(tmp_path / "0.tar.gz", "w:gz"):
        pass
    with pytest.raises(ValueError, match=r"0\.tar\.gz is compressed"):
        WebDatasetSource(str(tmp_path / "0.tar.gz"))


def test_opened_by_name(tmp_path):
    write(tmp_path / "0.tar", [("a.png", png(7)), ("a.txt", b"a")])
    source = open_source(
        f"webdataset:{tmp_path}/*.tar", data_dir="unused", split="all", image_size=8
    )
    np.testing.assert_array_equal(source[0]["image"][0, 0], [7, 0, 0])
