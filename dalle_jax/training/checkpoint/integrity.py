"""Whether a checkpoint's files are as they were written, and what an error in reading means."""

import errno
import json
import re
import zlib
from pathlib import Path

import tensorstore
from jax.errors import JaxRuntimeError

from dalle_jax.files import write_atomically

CHECKSUMS = "checksums.json"
# What an operating system answers where a file is gone or its blocks can't be read. Its other
# answers (too many open files, no memory, no permission, a network disk that is away) are of the
# machine, and may be others the next time.
LOST = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO, errno.EBADMSG, errno.ENODATA}
LOST.add(getattr(errno, "EUCLEAN", errno.EIO))  # Linux's, of a file system that is not whole
# Tensorstore's words for the same, before the number of the operating system's answer if it has it.
OF_THE_MACHINE = re.compile(
    "RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|PERMISSION_DENIED|UNAUTHENTICATED|ABORTED"
)
SYSTEM_ERROR = re.compile(r"os_error_code='(\d+)'")


def damage(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None if they are as they were written.

    Of one whose process was killed before it could write checksums the arrays are read, which
    finds what is lost or cut short, but not a flipped bit.

    Raises:
      OSError: they can't be read now, which does not say that they are damaged.
    """
    try:
        if not (path / CHECKSUMS).exists():
            return _unreadable(path)
        expected = json.loads((path / CHECKSUMS).read_text())
        found = _checksums(path)
    except ValueError:
        return f"{CHECKSUMS} is not readable"
    except OSError as error:
        if not means_damage(error):
            raise unread(path, error) from error
        return f"{error.filename} can't be read ({error.strerror})"
    for name, entry in expected.items():
        if name not in found:
            return f"{name} is missing"
        if found[name] != entry:
            return f"{name} is not as it was written (size and CRC-32 {found[name]}, were {entry})"
    return None


def _unreadable(path: Path) -> str | None:
    """What of the arrays of a checkpoint can't be read, one after the other.

    Orbax reads all at once, and has each that is left over print a stack trace where one fails.
    """
    try:
        store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{path}/state/"}}
        arrays = tensorstore.KvStore.open(store).result()
        names = arrays.list().result()
        for name in names:
            arrays.read(name).result()
    except ValueError as error:
        if not means_damage(error):
            raise unread(path, error) from error
        return f"it can't be read ({root(error)})"
    return None if names else "it has no arrays"


def means_damage(error: BaseException) -> bool:
    """Whether an error in reading a checkpoint, or one behind it, is of what lies on the disk.

    It is not where memory, files, permission or the network were lacking: the same files may be
    read the next time.
    """
    return not any(_of_the_machine(each) for each in _causes(error))


def unread(path: Path, error: BaseException) -> OSError:
    """The sentence for a checkpoint that could not be read though nothing says it is damaged."""
    return OSError(
        f"checkpoint {path} could not be read ({root(error)}), which does not say that it is "
        "damaged, so it stays; mend that, and the same command goes on from it"
    )


def root(error: BaseException) -> str:
    """What is at the bottom of an error, in a line."""
    last = _causes(error)[-1]
    lines = str(last).splitlines()
    return f"{type(last).__name__}: {lines[0][:300]}" if lines else type(last).__name__


def _causes(error: BaseException) -> list[BaseException]:
    """An error, that from which it was raised, and so on."""
    found = [error]
    while (before := found[-1].__cause__) is not None and before not in found:
        found.append(before)
    return found


def _of_the_machine(error: BaseException) -> bool:
    if isinstance(error, MemoryError | ImportError | JaxRuntimeError):
        return True
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError) and error.errno not in LOST
    if number := SYSTEM_ERROR.search(str(error)):
        return int(number[1]) not in LOST
    return OF_THE_MACHINE.match(str(error)) is not None


def write_checksums(path: Path) -> None:
    """Write down size and CRC-32 of each file of a checkpoint, at once and whole."""
    text = json.dumps(_checksums(path))
    write_atomically(path / CHECKSUMS, lambda file: file.write(text.encode()))


def _checksums(path: Path) -> dict[str, list[int]]:
    sums = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.name != CHECKSUMS:
            crc, size = 0, 0
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    crc, size = zlib.crc32(block, crc), size + len(block)
            sums[str(file.relative_to(path))] = [size, crc]
    return sums
