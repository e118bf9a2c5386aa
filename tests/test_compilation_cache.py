"""Compiled programs are cached where they can be loaded, by commands, within a limit."""

import fcntl
import os
import subprocess
import sys

import pytest

from dalle_jax import compilation_cache, cpu
from tests.conftest import ONE_DEVICE

COMMAND = "from dalle_jax import compilation_cache; compilation_cache.enable(); import jax"
LIBRARY = "import jax; from dalle_jax import DallePipeline"
PROGRAM = """
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append("cache_hits" in event))
print(float(jax.jit(lambda x: x + 1)(2.0)), sum(hits))
"""


@pytest.fixture
def environ(tmp_path, monkeypatch):
    """Of a command of which nothing says where compiled programs go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {}


def start(cache_home, begins=COMMAND):
    """A process that compiles one small program: what it printed."""
    ours = {compilation_cache.FOLDER, *compilation_cache.LIMITS}
    theirs = {k: v for k, v in ONE_DEVICE.items() if k not in ours}
    theirs["XDG_CACHE_HOME"] = str(cache_home)
    return subprocess.Popen(
        [sys.executable, "-c", begins + PROGRAM], env=theirs, text=True, stdout=-1, stderr=-1
    )


def test_a_second_process_loads_what_the_first_compiled_and_a_torn_entry_is_replaced(tmp_path):
    first = [start(tmp_path), start(tmp_path)]  # at once: they share the folder
    assert [process.communicate()[0].split()[0] for process in first] == ["3.0", "3.0"]
    assert start(tmp_path).communicate() == ("3.0 1\n", "")
    (entry,) = tmp_path.rglob("jit__lambda*-cache")
    entry.write_bytes(entry.read_bytes()[:-20])
    entry.with_name(entry.name.replace("-cache", "-atime")).unlink()
    assert start(tmp_path).communicate() == ("3.0 0\n", "")
    assert start(tmp_path).communicate() == ("3.0 1\n", "")


def test_what_the_library_compiles_is_cached_too(tmp_path):
    assert start(tmp_path, LIBRARY).communicate()[0] == "3.0 0\n"
    assert start(tmp_path, LIBRARY).communicate()[0] == "3.0 1\n"


def test_the_job_of_a_command_on_other_cores_has_a_folder_of_its_own(environ, monkeypatch):
    compilation_cache.enable(environ)
    folder = environ[compilation_cache.FOLDER]
    monkeypatch.setattr(cpu, "processor", lambda: ["flags : sse2"])
    compilation_cache.enable(environ)
    assert environ[compilation_cache.FOLDER] != folder


def test_the_folder_is_that_of_this_processor_and_has_a_limit(environ, monkeypatch, tmp_path):
    compilation_cache.enable(environ)
    folder = environ[compilation_cache.FOLDER]
    assert folder.startswith(str(tmp_path / "cache/dalle_jax/xla")) and os.path.isdir(folder)
    assert environ["JAX_COMPILATION_CACHE_MAX_SIZE"] == "2000000000"
    monkeypatch.setattr(cpu, "processor", lambda: ["flags : sse2"])
    assert str(compilation_cache.folder_of_this_machine()) != folder


@pytest.mark.parametrize(
    "given",
    [
        {"JAX_COMPILATION_CACHE_DIR": "elsewhere"},
        {"JAX_COMPILATION_CACHE_DIR": ""},
        {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    ],
)
def test_what_the_environment_says_of_the_cache_stays(environ, given, tmp_path):
    compilation_cache.enable(given)
    assert len(given) == 1 and not (tmp_path / "cache").exists()


def test_without_a_folder_to_write_to_a_sentence_says_that_nothing_is_cached(
    environ, tmp_path, capsys
):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    compilation_cache.enable(environ)
    assert not environ
    assert capsys.readouterr().err.startswith("warning: compiled programs are not cached: ")


def test_an_entry_that_another_process_is_writing_stays(tmp_path):
    entry = tmp_path / "jit_step-0123-cache"
    entry.write_bytes(b"half")
    with open(tmp_path / ".lockfile", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        compilation_cache.remove_torn(tmp_path)
        assert entry.exists()
    compilation_cache.remove_torn(tmp_path)
    assert not entry.exists()
