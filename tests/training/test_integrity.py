"""What an error in reading a checkpoint says of its files."""

import errno
import os

import pytest
from jax.errors import JaxRuntimeError

from dalle_jax.training.checkpoint.integrity import (
    damage,
    means_damage,
    root,
    unread,
    write_checksums,
)


def of_the_system(number):
    return OSError(number, os.strerror(number), "there")


def behind(error):
    """As Orbax raises what tensorstore told it."""
    try:
        raise Exception("Encountered error while reading array index") from error
    except Exception as raised:
        return raised


OF_THE_DISK = [
    of_the_system(errno.ENOENT),
    of_the_system(errno.EIO),
    FileNotFoundError("no metadata there"),
    KeyError("state"),
    ValueError('OUT_OF_RANGE: Error reading "params.in": Requested byte range [6, 9) is not valid'),
    ValueError("DATA_LOSS: Error decoding B+tree node"),
    ValueError("UNKNOWN: Failed to read: \"x\": Input/output error [os_error_code='5']"),
]
OF_THE_MACHINE = [
    MemoryError(),
    of_the_system(errno.EMFILE),
    of_the_system(errno.ENOMEM),
    of_the_system(errno.ETIMEDOUT),
    of_the_system(errno.EACCES),
    of_the_system(errno.ESTALE),
    TimeoutError("no answer"),
    JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
    ValueError(
        "RESOURCE_EXHAUSTED: Failed to open: \"x\": Too many open files [os_error_code='24']"
    ),
    ValueError("UNAVAILABLE: the bucket does not answer"),
]


@pytest.mark.parametrize("error", OF_THE_DISK, ids=repr)
def test_what_is_lost_or_torn_means_damage(error):
    assert means_damage(error) and means_damage(behind(error))


@pytest.mark.parametrize("error", OF_THE_MACHINE, ids=repr)
def test_what_the_machine_lacked_does_not(error):
    assert not means_damage(error) and not means_damage(behind(error))


def test_the_sentence_has_what_is_at_the_bottom_in_a_line(tmp_path):
    assert root(MemoryError()) == "MemoryError"
    error = behind(ValueError("UNAVAILABLE: away\nand much more"))
    assert root(error) == "ValueError: UNAVAILABLE: away"
    text = str(unread(tmp_path / "5", error))
    assert f"{tmp_path}/5 could not be read (ValueError: UNAVAILABLE: away)" in text
    assert "\n" not in text


@pytest.mark.parametrize("number, damaged", [(errno.EIO, True), (errno.EACCES, False)])
def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch, number, damaged):
    (tmp_path / "file").write_text("what is there")
    write_checksums(tmp_path)
    assert damage(tmp_path) is None
    opened = type(tmp_path).open

    def fail(path, mode="r", *more, **options):
        if path.name == "file":
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, mode, *more, **options)

    monkeypatch.setattr(type(tmp_path), "open", fail)
    if damaged:
        assert damage(tmp_path) == f"{tmp_path}/file can't be read ({os.strerror(number)})"
    else:
        with pytest.raises(OSError, match="does not say that it is damaged"):
            damage(tmp_path)
