import json
import uuid
import warnings

import fsspec
import pytest

from dalle_jax.data import folder_scan, remote_server
from dalle_jax.data.open import open_source
from dalle_jax.data.walk import walk

from .http_server import serve
from .tars import png


def files_of(kind):
    """A data set of ten images: with a text beside each, or with a table."""
    images = {f"sub/{i} ü.png" if i % 2 else f"{i}.png": png(i) for i in range(10)}
    if kind == "texts":
        texts = {name[:-4] + ".txt": str(i).encode() for i, name in enumerate(images)}
        return {**images, **texts, ".hidden.png": png(), "notes.md": b"x"}
    lines = [{"file_name": name, "text": str(i)} for i, name in enumerate(images)]
    return {**images, "metadata.jsonl": "\n".join(map(json.dumps, lines)).encode()}


@pytest.fixture(autouse=True)
def settings(monkeypatch, tmp_path):
    monkeypatch.setattr(remote_server, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=["texts", "table"])
def places(request, tmp_path):
    """One data set on disk, in memory and by HTTP: their names, and the server."""
    files = files_of(request.param)
    memory = fsspec.filesystem("memory")
    top = uuid.uuid4().hex
    for name, content in files.items():
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(content)
        memory.pipe(f"memory://{top}/{name}", content)
    with serve({f"/d/{name}".replace(" ü", "%20%C3%BC"): c for name, c in files.items()}) as server:
        yield [f"{tmp_path}/d", f"memory://{top}", f"{server.url}/d/"], server
    memory.rm(f"memory://{top}", recursive=True)


def read(place, split="all", **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_source(f"folder:{place}", data_dir="", split=split, image_size=4, **options)
    items = [source[i] for i in range(len(source))]
    assert all(item["caption"] == str(item["image"][0, 0, 0]) for item in items)
    return source, {item["id"]: item["captions"] for item in items}


def test_a_folder_by_url_is_that_on_disk(places):
    (here, memory, http), _ = places
    local, items = read(here)
    assert len(items) == 10
    for place in (memory, http):
        source, found = read(place)
        assert found == items and source.signature == local.signature
        assert source.report.left_out == local.report.left_out
        assert source.place(0).startswith(place.split("//")[0])
        assert read(place, "test", test_share=0.4)[1] == read(here, "test", test_share=0.4)[1]


def test_a_second_opening_reads_no_file(places, tmp_path, monkeypatch):
    (_, _, http), server = places
    read(http)
    assert len([*(tmp_path / "cache" / "dalle_jax" / "data").iterdir()]) == 2
    monkeypatch.setattr(folder_scan, "inspect_item", None)
    server.requests.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        open_source(f"folder:{http}", data_dir="", split="all", image_size=4)
    assert {(m, path.endswith("/")) for m, path, _ in server.requests} == {
        ("HEAD", False),
        ("GET", True),
    }


def test_a_broken_connection_is_tried_again_and_never_a_bad_image(places):
    (_, _, http), server = places
    server.failures = ["close", None] * 8
    assert len(read(http)[1]) == 10
    source, _ = read(http)
    server.failures = ["cut"] * 99
    with pytest.raises(ValueError, match="could not be read after 5 tries"):
        source[0]
    server.files = {name: c + b" " for name, c in server.files.items()}
    server.failures = [None] * (6 + len(server.files)) + ["close"] * 999
    with pytest.raises(OSError, match="could not be read after 5 tries"):
        read(http)


@pytest.mark.parametrize("name", ["../1.png", "/etc/passwd", "sub/../../1.png"])
def test_names_in_a_table_by_url_stay_in_the_folder(name):
    memory = fsspec.filesystem("memory")
    top = f"memory://{uuid.uuid4().hex}"
    line = json.dumps({"file_name": name, "text": "x"})
    memory.pipe({f"{top}/1.png": png(), f"{top}/metadata.jsonl": line.encode()})
    with pytest.raises(ValueError, match="leads out of the folder"):
        read(top)
    line = json.dumps({"file_name": "./sub/../1.png", "text": "0"})
    memory.pipe({f"{top}/metadata.jsonl": line.encode()})
    assert read(top)[1] == {"1.png": ("0",)}
    assert read(f"{top}/metadata.jsonl")[1] == {"1.png": ("0",)}


def test_a_url_without_files_is_a_sentence():
    with pytest.raises(FileNotFoundError, match="no files in memory://nothing"):
        read("memory://nothing-is-here")
    with (
        serve({"/x/a.txt": b""}) as server,
        pytest.raises(FileNotFoundError, match=r"/d/ lists no files"),
    ):
        read(f"{server.url}/d")
    assert walk(".").files
