import uuid

import fsspec
import pytest

from tests.data.http_server import serve
from tests.data.pictures import SHARES, captions, numbers, png, read, write

pytestmark = pytest.mark.usefixtures("url_cache")
FILES = {
    "a.png": png(1),
    "a.txt": b"red",
    "sub/b c.png": png(2),
    "sub/b c.txt": "blau é\ncrimson".encode(),
    "sub/c.png": png(3),
    "sub/c.json": b'{"caption": "green"}',
    ".hidden/x.png": png(9),
    "notes.md": b"x",
}
CAPTIONS = {"a.png": ("red",), "sub/b c.png": ("blau é", "crimson"), "sub/c.png": ("green",)}


@pytest.fixture
def serve_files():
    """Makes URLs of a folder of files, by HTTP and in memory."""
    with serve({}) as server:
        memory = fsspec.filesystem("memory")
        name = uuid.uuid4().hex

        def put(files):
            for path, content in files.items():
                server.files["/data/" + path.replace(" ", "%20")] = content
                memory.pipe(f"/{name}/{path}", content)
            return {"http": f"{server.url}/data", "memory": f"memory://{name}"}

        put.server = server
        yield put
        memory.rm(f"/{name}", recursive=True)


@pytest.mark.parametrize("kind", ["http", "memory"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_by_url_is_that_on_disk(serve_files, tmp_path, kind, slash):
    url = serve_files(FILES)[kind] + slash
    local = write(tmp_path / "local", FILES)
    assert captions(url) == captions(local) == CAPTIONS
    there, here = read(url), read(local)
    assert there.signature == here.signature
    assert {reason: len(names) for reason, names in there.report.left_out.items()} == {
        "hidden": 1,
        "other file (.md)": 1,
    }
    for split in ("train", "validation", "test"):
        assert numbers(url, split, **SHARES) == numbers(local, split, **SHARES)
    assert there.location(0).endswith("/a.png")


def test_a_changed_file_is_read_again(serve_files):
    urls = serve_files(FILES)
    for url in urls.values():
        read(url)
    serve_files({"a.txt": b"other"})
    for url in urls.values():
        assert captions(url)["a.png"] == ("other",)


@pytest.mark.parametrize("kind", ["http", "memory"])
def test_names_in_a_table_by_url(serve_files, kind):
    url = serve_files(FILES)[kind]
    names = ["./a.png", "SUB\\C.png", f"{url}/sub/b c.png", "sub/../a.png"]
    rows = "".join(f"{name},no. {i}\n" for i, name in enumerate(names))
    serve_files({"sub.csv": b"file_name,caption\n" + rows.encode()})
    expected = {"a.png": ("no. 0", "no. 3"), "sub/c.png": ("no. 1",), "sub/b c.png": ("no. 2",)}
    assert captions(f"{url}/sub.csv") == expected
    for name in ("../a.png", "/a.png", "sub/../../a.png", "..\\a.png", "/etc/passwd"):
        serve_files({"sub.csv": f"file_name,caption\n{name},x\n".encode()})
        with pytest.raises(ValueError, match="leads out of the folder"):
            read(f"{url}/sub.csv")


def test_a_connection_that_breaks_is_tried_again_and_then_named(serve_files):
    url = serve_files({"a.png": png(1), "a.txt": b"red"})["http"]
    serve_files.server.failures = ["close", 503, "close"]
    assert captions(url) == {"a.png": ("red",)}
    serve_files({"a.txt": b"crimson"})
    good = len(serve_files.server.requests)
    read(url)
    listing = len(serve_files.server.requests) - good - 2  # Without the image and its caption.
    serve_files({"a.txt": b"other"})
    serve_files.server.failures = [None] * listing + ["close"] * 50
    with pytest.raises(OSError, match=r"/data/a\.(png|txt) could not be read after 5 tries"):
        read(url)
    serve_files.server.failures = []
    assert captions(url) == {"a.png": ("other",)}  # The break is not stored as a bad item.
    source = read(url)
    serve_files.server.failures = ["cut"] * 99
    with pytest.raises(ValueError, match="could not be read after 5 tries"):
        source[0]


def test_a_second_opening_reads_no_file(serve_files, url_cache):
    url = serve_files(FILES)["http"]
    read(url)
    assert len([*url_cache.iterdir()]) == 2
    serve_files.server.requests.clear()
    read(url)
    asked = {(method, path.endswith("/")) for method, path, _ in serve_files.server.requests}
    assert asked == {("HEAD", False), ("GET", True)}


def test_a_url_without_files_is_a_sentence(serve_files):
    with pytest.raises(FileNotFoundError, match="no files in memory://nothing"):
        read("memory://nothing-is-here")
    url = serve_files({"a.txt": b""})["http"]
    with pytest.raises(FileNotFoundError, match=r"/d/ lists no files"):
        read(f"{url}/d")


def test_a_password_is_never_shown(serve_files, tmp_path):
    url = serve_files({"a.png": png(1), "a.txt": b"x", "b.png": png(2)})["http"]
    secret = url.replace("http://", "http://me:secret@")
    source = read(secret)
    assert "secret" not in str(source.report) + source.location(0) + str(source.report.path)
    assert "secret" not in source.report.path.read_text()


@pytest.mark.parametrize("table", ["", "metadata.jsonl"])
def test_a_folder_is_read_from_a_server_that_sends_whole_files_only(serve_files, table):
    records = b'{"file_name": "a.png", "text": "red"}\n{"file_name": "c.png", "text": ""}\n'
    files = {"a.png": png(1), "c.png": png(2), **({table: records} if table else {"a.txt": b"red"})}
    url = serve_files({**files, "empty.png": b""})["http"]
    serve_files.server.ranges = False
    assert captions(f"{url}/{table}") == {"a.png": ("red",)}


def test_dots_in_a_name_lead_nowhere_else(serve_files):
    names = ["a..png", "b...c.png", "..d.png"]
    url = serve_files({name: png(i) for i, name in enumerate(names)} | {"b...c.txt": b"x"})["http"]
    source = read(url)
    assert [source[0]["id"]] == ["b...c.png"] and source.report.total == 2
    assert source.report.left_out == {"hidden": ["..d.png"]}
