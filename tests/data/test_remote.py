import io
import uuid

import fsspec
import pytest

from dalle_jax.data import webdataset
from dalle_jax.data.files import find_files
from dalle_jax.data.open import open_source
from dalle_jax.data.remote import ReadAhead, find_file, list_folder, match_files
from dalle_jax.data.remote_server import is_url, shown
from dalle_jax.data.webdataset import WebDatasetSource
from tests.data.http_server import serve
from tests.data.tars import found, pair, tar_bytes

pytestmark = pytest.mark.usefixtures("url_cache")

SHARDS = {
    f"/data/{number:03d}.tar": tar_bytes(
        [member for i in range(4) for member in pair(i, 10 * number + i)]
    )
    for number in range(3)
}
CAPTIONS = {str(10 * number + i) for number in range(3) for i in range(4)}


@pytest.fixture
def server():
    with serve(SHARDS) as state:
        yield state


@pytest.fixture
def memory():
    """A URL of a folder in memory that holds the shards."""
    url = f"memory://{uuid.uuid4().hex}"
    files = fsspec.filesystem("memory")
    for name, content in SHARDS.items():
        files.pipe(url + name, content)
    yield url + "/data"
    files.rm(url, recursive=True)


def captions(spec, **options):
    return {text for (text,) in found(WebDatasetSource, spec, **options)[0].values()}


@pytest.mark.parametrize(
    "spec",
    [
        "URL/{000..002}.tar",
        "URL/*.tar",
        "URL/",
        "URL/0*.tar::URL/{001..002}.tar",
        "URL/000.tar::URL/[01]*1.tar::URL/002.tar",
    ],
)
def test_shards_are_read_by_url(server, memory, spec):
    by_http, in_memory = (spec.replace("URL", url) for url in (f"{server.url}/data", memory))
    assert captions(by_http) == captions(in_memory) == CAPTIONS


def test_a_folder_in_memory_needs_no_slash(memory):
    assert captions(memory) == CAPTIONS
    source = open_source(f"webdataset:{memory}", data_dir="", split="all", image_size=4)
    assert source.location(0).startswith("000.tar/0 of memory://")


def test_the_index_is_stored_on_this_machine_and_nothing_is_read_again(
    server, url_cache, tmp_path, monkeypatch
):
    spec = f"{server.url}/data/{{000..002}}.tar"
    captions(spec)
    stored = sorted(path.name for path in url_cache.iterdir())
    assert [name.partition("-")[0] for name in stored] == ["data_report", "index"]
    server.requests.clear()
    with monkeypatch.context() as patch:
        patch.setattr(webdataset, "find_samples", None)
        source = WebDatasetSource(spec, "all")
    assert {method for method, _, _ in server.requests} == {"HEAD"}
    server.requests.clear()
    source[0]
    # One request for the image and its captions.
    assert len(server.requests) == 1 and server.num_bytes < 2500
    server.files["/data/001.tar"] = tar_bytes(pair("new", 99))
    assert "99" in captions(spec) and captions(spec, cache_dir=tmp_path / "other") >= {"99"}


def test_the_first_opening_asks_for_large_parts(server):
    server.files = {"/0.tar": tar_bytes([m for i in range(200) for m in pair(i, i)])}
    WebDatasetSource(f"{server.url}/0.tar", "all")
    assert len(server.requests) < 8


FAILURES = {
    "closed": ["close"] * 3,
    "cut": ["cut", "cut"],
    "overloaded": [503, 500, 429],
    "one of each": ["close", "cut", 502, 408],
}


@pytest.mark.parametrize("failures", FAILURES.values(), ids=FAILURES)
def test_a_broken_connection_is_tried_again(server, failures):
    file = find_file(f"{server.url}/data/000.tar")
    server.failures = list(failures)
    assert file.read(100, 512) == SHARDS["/data/000.tar"][100:612]
    assert not server.failures


@pytest.mark.parametrize("failure", ["close", "cut", 503])
def test_a_connection_that_stays_broken_is_named_with_the_tries(server, failure):
    file = find_file(f"{server.url}/data/000.tar")
    server.requests.clear()
    server.failures = [failure] * 99
    message = r"http://127.0.0.1:\d+/data/000.tar .* after 5 tries"
    with pytest.raises(OSError, match=message) as error:
        file.read(0, 512)
    assert "\n" not in str(error.value) and 5 <= len(server.requests) <= 10


@pytest.mark.parametrize(("status", "word"), [(403, "Forbidden"), (401, "401"), (410, "410")])
def test_a_refusal_is_not_tried_again(server, status, word):
    file = find_file(f"{server.url}/data/000.tar")
    server.requests.clear()
    server.failures = [status] * 9
    with pytest.raises(OSError, match=rf"000\.tar could not be read: .*{word}"):
        file.read(0, 512)
    assert len(server.requests) == 1


def test_no_server_is_a_sentence():
    message = r"127.0.0.1:1/0.tar could not be read after 5 tries: .*onnect"
    with pytest.raises(OSError, match=message):
        find_files("http://127.0.0.1:1/0.tar", ".tar")


def test_a_server_that_sends_whole_files_only_is_a_sentence(server):
    server.ranges = False
    server.files["/data/large.tar"] = bytes(10**6)
    with pytest.raises(OSError, match=r"sends whole files only .* download the files"):
        find_files(f"{server.url}/data/large.tar", ".tar")


def test_a_server_that_stops_sending_parts_is_a_sentence(server):
    file = find_file(f"{server.url}/data/000.tar")
    server.ranges = False
    with pytest.raises(OSError, match="sends whole files only"):
        file.read(100, 100)


def test_a_file_of_no_stated_size_is_a_sentence(server):
    server.sizes = False
    with pytest.raises(OSError, match="does not say how large it is"):
        find_files(f"{server.url}/data/000.tar", ".tar")


@pytest.mark.parametrize("name", ["003.tar", "{000..003}.tar", "x/*.tar"])
def test_a_url_of_nothing_is_a_sentence(server, memory, name):
    with pytest.raises(FileNotFoundError, match=r"no http://127\.0\.0\.1.*|lists no files"):
        find_files(f"{server.url}/data/{name}", ".tar")
    with pytest.raises(FileNotFoundError, match=r"there is no (\.tar file )?memory://"):
        find_files(f"{memory}/{name}", ".tar")


@pytest.mark.parametrize("name", ["", "*.tar"])
def test_a_folder_that_https_does_not_list_is_a_sentence(server, name):
    server.listing = False
    with pytest.raises(FileNotFoundError, match=r"lists no files.*name the files.*\{000\.\.127\}"):
        find_files(f"{server.url}/data/{name}", ".tar")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://x/0.tar", "nosuch://x/0.tar can't be read: .*rotocol"),
        ("http://[::1/0.tar", "is no URL: Invalid IPv6"),
        ("s3://bucket/0.tar", "pip install s3fs"),
        ("gs://bucket/*.tar", "pip install gcsfs"),
    ],
)
def test_a_scheme_that_is_not_installed_is_a_sentence(url, message):
    with pytest.raises(ValueError, match=message):
        find_files(url, ".tar")


def test_passwords_and_signatures_are_not_shown(server):
    assert shown("https://u:secret@h/a.tar?sig=secret") == "https://h/a.tar"
    url = f"{server.url}/data/nothing.tar?X-Amz-Signature=secret"
    with pytest.raises(FileNotFoundError) as error:
        find_file(url)
    assert "secret" not in str(error.value) and "nothing.tar" in str(error.value)
    source = WebDatasetSource(f"{server.url}/data/000.tar?sig=secret", "all")
    assert "secret" not in str(source.report) + source.location(0)
    assert source[0]["id"] == "000.tar/0"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        *(("https://x/y", True), ("s3://x", True), ("memory://x", True), ("hf://datasets/x", True)),
        *(("file:///x", False), ("C:/x", False), ("a:b", False), ("/x://y", False), ("x", False)),
    ],
)
def test_what_a_url_is(name, url):
    assert is_url(name) is url


@pytest.mark.parametrize("block", [1, 7, 64, 10**6])
def test_reading_ahead_gives_the_same_bytes(memory, block):
    file = find_file(f"{memory}/001.tar")
    content = SHARDS["/data/001.tar"]
    ahead = ReadAhead(file, block=block, blocks=2)
    places = [(0, 10), (5, 3), (60, 10), (0, 1), (len(content) - 3, 9), (9**9, 5), (1, 0)]
    for offset, size in places:
        assert ahead.read(offset, size) == content[offset : offset + size]


def test_a_file_by_url_is_a_stream_that_can_seek(memory):
    content = SHARDS["/data/001.tar"]
    with find_file(f"{memory}/001.tar").open() as stream:
        assert stream.read(9) == content[:9] and stream.seek(-5, io.SEEK_END) == len(content) - 5
        assert stream.read() == content[-5:] and stream.read() == b""
        assert stream.seek(0) == 0 and stream.read() == content
    assert find_file(f"{memory}/001.tar").read_all() == content


def test_all_files_below_a_folder(memory, server):
    server.files["/data/deep/er/x.txt"] = b"x"
    names = {"000.tar", "001.tar", "002.tar"}
    assert list_folder(memory).keys() == names
    listed = list_folder(f"{server.url}/data/")
    assert listed.keys() == {*names, "deep/er/x.txt"}
    assert all(file.name == name.rpartition("/")[2] for name, file in listed.items())
    assert {file.name for file in match_files(f"{server.url}/data/**/*.txt")} == {"x.txt"}


@pytest.mark.parametrize("failures", [["close"] * 2, ["cut", 503]])
def test_a_page_that_breaks_is_never_taken_for_an_empty_one(server, failures):
    server.failures = list(failures)
    assert len(list_folder(f"{server.url}/data/")) == 3
    server.failures = ["close"] * 99
    with pytest.raises(OSError, match=r"/data/ could not be read after 5 tries"):
        list_folder(f"{server.url}/data/")


def test_links_that_lead_elsewhere_are_not_followed(server):
    links = ("deep/", "../", "?C=N;O=D", "/other.tar", "http://elsewhere/a.tar", "#x", "a/../b.tar")
    server.files["/data/deep/x.txt"] = b"x"
    server.files["/data/"] = "".join(f'<a href="{link}">x</a>' for link in links).encode()
    assert [*list_folder(f"{server.url}/data/")] == ["deep/x.txt"]


def test_a_folder_below_that_may_not_be_listed_is_an_error(server):
    server.files["/data/deep/x.txt"] = b"x"
    server.failures = [None, 403]
    with pytest.raises(OSError, match=r"/data/deep/ could not be read: 403"):
        list_folder(f"{server.url}/data/")


def test_a_compressed_shard_by_url_is_a_sentence(server):
    server.files["/0.tar.gz"] = b"\x1f\x8b" + bytes(600)
    with pytest.raises(ValueError, match=r"127.*/0\.tar\.gz is compressed .*gunzip"):
        WebDatasetSource(f"{server.url}/0.tar.gz")
