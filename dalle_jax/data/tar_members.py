"""Where the files of a tar lie in it, read with bounds from any content, torn or hostile."""

import posixpath
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from dalle_jax.data import git_lfs

BLOCK = tarfile.BLOCKSIZE
TORN = "torn shard"
_ZEROS = bytes(2**20)
# Of the headers that hold a long name or the records of PAX; real ones take a few hundred bytes.
_MAX_HEADER_BYTES = 2**20
_MAX_LINKS = 8
_COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"PK\x03\x04": ("zip", "unzip"),
}


class Member(NamedTuple):
    """A regular file in a tar: its name, and where its content lies."""

    name: str
    offset: int
    size: int


@dataclass
class Listing:
    """The members of a tar."""

    members: list[Member] = field(
        default_factory=list
    )  # in order; links have their target's location
    left_out: dict[str, list[str]] = field(
        default_factory=dict
    )  # other names than files, by reason
    problem: str = ""  # why the reading ended before the end of the file

    def leave_out(self, reason: str, name: str) -> None:
        """Note a member that is not used."""
        self.left_out.setdefault(reason, []).append(name)


def compression(beginning: bytes) -> tuple[str, str] | None:
    """The compression that a file's first bytes show, and the program that undoes it."""
    for mark, names in _COMPRESSIONS.items():
        if beginning.startswith(mark) and _header(beginning[:BLOCK]) is None:
            return names
    return None


def list_members(read: Callable[[int, int], bytes], size: int) -> Listing:
    """The members of a tar of `size` bytes that `read(offset, length)` reads.

    Reading continues behind an end mark, where another tar may follow (`cat a.tar b.tar`), and ends
    at the first invalid header.
    """
    tar = _Tar(read, size)
    tar.list()
    tar.resolve_links()
    return tar.listing


class _Tar:
    def __init__(self, read: Callable[[int, int], bytes], size: int):
        self._read, self._size = read, size
        self.listing = Listing()
        self._links: list[tuple[int, str, str]] = []
        self._defaults: dict[str, str] = {}  # the global records of PAX
        self._next: dict[str, str] = {}  # what headers said of the member that follows them

    def list(self) -> None:
        position, ended = 0, False
        while position < self._size:
            block = self._read(position, BLOCK)
            if not block.strip(b"\0"):
                # Not even whole: what is lacking of the last block of zeros is no loss.
                position, ended = self._after_zeros(position), True
                continue
            header = _header(block)
            if header is None:
                self.listing.problem = _no_header(position, ended, block)
                return
            ended = False
            try:
                position = self._take(position, header, block)
            except ValueError as error:
                self.listing.problem = str(error)
                return
        if not self._size:
            self.listing.problem = "empty file"
        elif not ended:
            self.listing.problem = TORN

    def _after_zeros(self, position: int) -> int:
        """The block after a run of zeros; it may be the end of the file."""
        while position < self._size:
            chunk = self._read(position, len(_ZEROS))
            if chunk != _ZEROS[: len(chunk)]:
                return position + (len(chunk) - len(chunk.lstrip(b"\0"))) // BLOCK * BLOCK
            position += len(_ZEROS)
        return self._size

    def _take(self, position: int, header: tarfile.TarInfo, block: bytes) -> int:
        """Note the member of a header; where the next header lies."""
        data = position + BLOCK
        if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE):
            records = _records(self._small(data, header.size))
            if header.type == tarfile.XGLTYPE:
                self._defaults.update(records)
            else:
                self._next.update(records)
            return self._behind(data, header.size)
        if header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            name = self._small(data, header.size).partition(b"\0")[0]
            key = "path" if header.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
            self._next[key] = name.decode("utf-8", "surrogateescape")
            return self._behind(data, header.size)
        said, self._next = {**self._defaults, **self._next}, {}
        name = plain_name(said.get("path", header.name))
        if header.islnk() or header.issym():
            target = said.get("linkpath", header.linkname)
            if header.issym():
                target = posixpath.join(posixpath.dirname(name), target)
            self._links.append((len(self.listing.members), name, plain_name(target)))
            self.listing.members.append(Member(name, -1, 0))
            return data
        if header.type in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            if not header.isdir():
                self.listing.leave_out("no regular file", name)
            return data
        size = header.size
        if "size" in said:
            size = _number(said["size"])
        sparse = header.type == tarfile.GNUTYPE_SPARSE
        extended = sparse and block[482]
        while extended:
            extended = self._read(data, BLOCK)[504:505].strip(b"\0")
            data += BLOCK
            if data > self._size:
                raise ValueError(TORN)
        if not 0 <= size <= self._size - data:
            raise ValueError(TORN)
        if sparse or any(key.startswith("GNU.sparse.") for key in said):
            self.listing.leave_out("sparse member", said.get("GNU.sparse.name", name))
        elif header.type in tarfile.REGULAR_TYPES:
            self.listing.members.append(Member(name, data, size))
        else:
            self.listing.leave_out("no regular file", name)
        return self._behind(data, size)

    def _small(self, offset: int, size: int) -> bytes:
        if not 0 <= size <= min(_MAX_HEADER_BYTES, self._size - offset):
            raise ValueError(TORN)
        return self._read(offset, size)

    def _behind(self, offset: int, size: int) -> int:
        """The block after `size` bytes at `offset`."""
        if size < 0:
            raise ValueError(TORN)
        return offset + -(-size // BLOCK) * BLOCK

    def resolve_links(self) -> None:
        """Give links the location of their target, and leave out those without one."""
        if not self._links:
            return
        members = self.listing.members
        targets = {number: target for number, _, target in self._links}
        numbers: dict[str, int | None] = {}
        for number, member in enumerate(members):
            # A name that occurs twice leads nowhere for certain.
            numbers[member.name] = None if member.name in numbers else number
        lost = set()
        for number, name, target in self._links:
            end = numbers.get(target)
            for _ in range(_MAX_LINKS):
                if end is None or end not in targets:
                    break
                end = numbers.get(targets[end])
            if end is None or end in targets:
                lost.add(number)
                self.listing.leave_out("link to no member of the shard", name)
            else:
                members[number] = members[end]._replace(name=name)
        self.listing.members = [m for number, m in enumerate(members) if number not in lost]


def plain_name(name: str) -> str:
    """A member's name without `./`, `//`, `..` and a first `/`."""
    return posixpath.normpath("/" + name).lstrip("/")


def _no_header(position: int, ended: bool, block: bytes) -> str:
    if ended:
        return "no tar behind the end mark of a tar"
    if position:
        return TORN
    return git_lfs.POINTER if git_lfs.is_pointer(block) else "no tar"


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, IndexError, OverflowError):
        return None


def _records(content: bytes) -> dict[str, str]:
    """The records of a PAX header: "LENGTH KEYWORD=VALUE", each with a line feed at its end."""
    records: dict[str, str] = {}
    start = 0
    while start < len(content) and content[start]:
        space = content.find(b" ", start, start + 20)
        length = _number(content[start : max(space, start)].decode("ascii", "replace"))
        end = start + length
        keyword, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not space < end <= len(content) or not equals:
            raise ValueError(TORN)
        records[keyword.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        start = end
    return records


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise ValueError(TORN)
    return int(digits)
