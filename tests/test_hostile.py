"""What others wrote stays in its folder, goes to a batch or is refused in a sentence."""

import csv
import io
import json
import tarfile
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from dalle_jax.config.load import apply_override, flatten
from dalle_jax.configs import tiny
from dalle_jax.data.folder import FolderSource
from dalle_jax.data.loader import make_loader
from dalle_jax.data.report import Report
from dalle_jax.data.tokenizer import Tokenizer, train_tokenizer
from dalle_jax.data.webdataset import WebDatasetSource


def png(size=(4, 3)):
    file = io.BytesIO()
    Image.new("RGB", size, (9, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def linked(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, str(target)
    return info


def test_members_of_a_shard_are_written_nowhere_and_link_nowhere(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    shards = tmp_path / "shards"
    shards.mkdir()
    members = [("../out.png", png()), ("../out.txt", b"out"), ("/abs.png", png())]
    members += [("/abs.txt", b"abs"), ("a.png", png())]
    members += [(linked("a.txt", secret, kind), b"") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    members += [("b.png", png()), ("b.txt", b"b")]
    write_tar(shards / "0.tar", members)
    with pytest.warns(UserWarning, match=r"key twice in a shard \(0\.tar/a\)"):
        source = WebDatasetSource(str(shards / "0.tar"), "all", max_bad_share=0.5)
    assert sorted(source[i]["caption"] for i in range(len(source))) == ["abs", "b", "out"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "shards"]
    assert {path.suffix for path in shards.iterdir()} == {".tar", ".npz", ".json"}


@settings(max_examples=40, deadline=10_000)
@given(data=st.data())
def test_a_forged_index_leads_out_of_no_shard(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "forged"
    folder.mkdir(exist_ok=True)
    shard = folder / "0.tar"
    if not shard.exists():
        write_tar(shard, [("a.png", png()), ("a.txt", b"a")])
    source = WebDatasetSource(str(shard), "all")
    (index,) = folder.glob("index-*.npz")
    with np.load(index, allow_pickle=False) as saved:
        arrays = dict(saved)
    whole = arrays["rows"].copy()
    edges = st.sampled_from([-2, -1, 0, 1, 512, shard.stat().st_size, 2**31, 2**63 - 1, -(2**63)])
    row = arrays["rows"][0]
    for column in data.draw(st.sets(st.integers(0, 4), min_size=1)):
        row[column] = data.draw(edges)
    if data.draw(st.booleans()):
        arrays["rows"] = arrays["rows"][:, : data.draw(st.integers(0, 5))]
    np.savez(index, **arrays)
    size = shard.stat().st_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = WebDatasetSource(str(shard), "all", max_bad_share=0.9)
        for i in range(len(source)):
            assert len(source[i]["caption"]) <= size
    except ValueError as error:  # A row that stays inside, but is wrong.
        assert "readable when it was scanned, is not" in str(error)
    finally:
        np.savez(index, **{**arrays, "rows": whole})
        for kept in folder.glob("data_report-*.json"):
            kept.unlink()


@settings(max_examples=60, deadline=10_000)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "what": st.text(max_size=4),
            "total": st.none() | st.integers(),
            "skipped": st.recursive(
                st.none() | st.integers() | st.text(max_size=4),
                lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=4), x),
                max_leaves=5,
            ),
            "signature": st.text(max_size=4),
            "more": st.none(),
        },
    )
)
def test_any_report_is_read_or_none(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_text(json.dumps(content))
    report = Report.load(path)
    if report is not None:
        assert all(isinstance(item, str) for items in report.skipped.values() for item in items)


def bomb(width, height):
    """A PNG of that many black pixels, a thousandth of their size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    line = bytes(1 + -(-width // 8))
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", packed), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [9_500, 20_000])  # above Pillow's limit, and above twice of it
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_bomb_is_skipped_and_named(tmp_path, side):
    explosive = bomb(side, side)
    assert len(explosive) < 200_000 and side**2 > Image.MAX_IMAGE_PIXELS
    members = [("bomb.png", explosive), ("bomb.txt", b"x"), ("a.png", png()), ("a.txt", b"a")]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in members:
        (folder / name).write_bytes(content)
    with pytest.warns(UserWarning, match=r"unreadable image \(bomb\.png\)"):
        assert len(FolderSource(folder, "all", max_bad_share=0.5)) == 1
    write_tar(tmp_path / "0.tar", members)
    with pytest.warns(UserWarning, match=r"unreadable image \(0\.tar/bomb\)"):
        assert len(WebDatasetSource(str(tmp_path / "0.tar"), "all", max_bad_share=0.5)) == 1


NAMES = st.sampled_from(["a.png", "../a.png", "/a.png", "b.png", ""])
CAPTIONS = {
    "megabyte": "a" * 2**20,
    "megabyte of words": "red " * 2**18,
    "NUL": "a \0 b",
    "lone surrogate": "a \ud800 b",
    "direction": "a \u202e b",
    "shell": "$(touch x); `touch x` {0.__class__} %s",
    "markup": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("table", ["metadata.jsonl", "captions.csv"])
@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_a_hostile_caption_goes_all_the_way_to_a_batch(tmp_path, caption, table):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(png((8, 8)))
    lines = [{"file_name": "a.png", "text": caption}, {"file_name": "b.png", "text": "plain"}]
    text = io.StringIO()
    if table == "captions.csv":
        rows = csv.DictWriter(text, ["file_name", "text"])
        rows.writeheader()
        rows.writerows(lines)
    else:
        text.write("\n".join(map(json.dumps, lines)))
    (tmp_path / table).write_bytes(text.getvalue().encode("utf-8", "surrogatepass"))
    if table == "captions.csv" and "\ud800" in caption:  # JSON writes it as ASCII.
        with pytest.warns(UserWarning, match=r"unreadable caption: not UTF-8 \(captions\.csv:2\)"):
            source = FolderSource(tmp_path, "all", max_bad_share=0.9)
        assert [source[i]["caption"] for i in range(len(source))] == ["plain"]
    else:
        reaches_a_batch(FolderSource(tmp_path, "all"))


def reaches_a_batch(source):
    """Of two items the second says "plain"; the first what it wants."""
    tokenizer = Tokenizer(train_tokenizer((source[i]["caption"] for i in range(2)), 300), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of captions that are cut
        batch = next(make_loader(source, tokenizer, batch_size=2, image_size=8, shuffle=False))
    assert batch["tokens"].shape == (2, 8) and batch["tokens"].max() < 300
    assert tokenizer.decode(batch["tokens"][1]) == "plain"


def in_text_files(folder, caption):
    """A folder whose captions are in a .txt beside each image."""
    for name, text in (("a", caption), ("b", b"plain")):
        (folder / f"{name}.png").write_bytes(png((8, 8)))
        (folder / f"{name}.txt").write_bytes(text)
    return FolderSource(folder, "all", max_bad_share=0.5)


def in_a_shard(folder, caption, extension="txt"):
    """A tar shard with captions as they are, or as JSON."""
    plain = b'{"caption": "plain"}' if extension == "json" else b"plain"
    members = [("a.png", png((8, 8))), (f"a.{extension}", caption)]
    members += [("b.png", png((8, 8))), (f"b.{extension}", plain)]
    write_tar(folder / "0.tar", members)
    return WebDatasetSource(str(folder / "0.tar"), "all", max_bad_share=0.5)


@pytest.mark.parametrize("kept_in", [in_text_files, in_a_shard], ids=lambda f: f.__name__)
@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_a_hostile_caption_in_a_file_of_its_own_goes_to_a_batch_or_is_named(
    tmp_path, caption, kept_in
):
    if "\ud800" not in caption:
        reaches_a_batch(kept_in(tmp_path, caption.encode()))
        return
    with pytest.warns(UserWarning, match=r"unreadable caption.*\((0\.tar/a|a\.png)\)"):
        source = kept_in(tmp_path, caption.encode("utf-8", "surrogatepass"))
    assert [source[i]["caption"] for i in range(len(source))] == ["plain"]


@pytest.mark.parametrize("kept_in", [in_text_files, in_a_shard], ids=lambda f: f.__name__)
@pytest.mark.parametrize("raw", [b"a \xff b", b"\xc0\x80", b"a \xf0\x9f", b"\xff\xfea\0\0"])
def test_a_caption_that_is_no_utf8_is_named(tmp_path, raw, kept_in):
    with pytest.warns(UserWarning, match=r"unreadable caption.*\((0\.tar/a|a\.png)\)"):
        assert len(kept_in(tmp_path, raw)) == 1


@pytest.mark.parametrize("caption", CAPTIONS.values(), ids=CAPTIONS)
def test_a_hostile_caption_in_the_json_of_a_shard_goes_to_a_batch(tmp_path, caption):
    reaches_a_batch(in_a_shard(tmp_path, json.dumps({"caption": caption}).encode(), "json"))


TOO_DEEP = {"lists": b"[" * 10**5, "objects": b'{"caption": ' * 10**5, "number": b"1" * 9999}


@pytest.mark.parametrize("deep", TOO_DEEP.values(), ids=TOO_DEEP)
def test_json_of_a_shard_that_no_reader_can_hold_is_named(tmp_path, deep):
    with pytest.warns(UserWarning, match=r"unreadable caption|empty caption|without caption"):
        assert len(in_a_shard(tmp_path, deep, "json")) == 1


@settings(max_examples=60, deadline=10_000)
@given(
    st.lists(
        st.binary(max_size=30)
        | st.builds(
            lambda name, text: json.dumps({"file_name": name, "caption": text}).encode(),
            NAMES,
            st.text(st.characters(exclude_categories=()), max_size=8) | st.integers(),
        ),
        max_size=4,
    )
)
def test_any_lines_of_captions_are_read_or_refused_in_a_sentence(tmp_path_factory, lines):
    folder = tmp_path_factory.getbasetemp() / "lines"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png())
    (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = FolderSource(folder, "all", max_bad_share=0.9)
    except ValueError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
    else:
        assert [source[i]["id"] for i in range(len(source))] == ["a.png"]
        assert all(caption.strip() for caption in source[0]["captions"])


@settings(max_examples=60, deadline=10_000)
@given(
    st.sampled_from([b"file_name,caption", b"file_name,text,more", b"caption", b""]),
    st.lists(
        st.binary(max_size=30)
        | st.builds(lambda name, text: name.encode() + b"," + text, NAMES, st.binary(max_size=30)),
        max_size=4,
    ),
)
def test_any_table_of_captions_is_read_or_refused_in_a_sentence(tmp_path_factory, columns, lines):
    folder = tmp_path_factory.getbasetemp() / "table"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png())
    (folder / "captions.csv").write_bytes(b"\n".join([columns, *lines]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = FolderSource(folder, "all", max_bad_share=0.9)
    except ValueError as error:
        assert len(str(error)) < 1500
    else:
        assert [source[i]["id"] for i in range(len(source))] == ["a.png"]
        assert all(caption.strip() for caption in source[0]["captions"])


DEFAULTS = dict(flatten(tiny.get_config()))
texts = st.text(st.characters(exclude_categories=()), max_size=30)
literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda x: st.lists(x, max_size=3) | st.tuples(x, x) | st.dictionaries(texts, x, max_size=2),
    max_leaves=5,
).map(repr)


@settings(max_examples=200, deadline=10_000)
@given(
    st.sampled_from(sorted(DEFAULTS)) | texts,
    st.sampled_from(["__import__('os').abort()", "().__class__", "f'{1}'", "[0] * 9**9"])
    | literals
    | texts,
)
def test_any_override_sets_a_value_of_the_settings_type_or_is_refused(name, value):
    config = ConfigDict(tiny.get_config())
    try:
        apply_override(config, f"--config.{name}={value}")
    except ValueError as error:
        assert len(str(error)) < 1000
        assert dict(flatten(config)) == DEFAULTS
    else:
        changed = dict(flatten(config))
        assert type(changed.pop(name)) is type(DEFAULTS[name])
        assert changed.items() <= DEFAULTS.items()
