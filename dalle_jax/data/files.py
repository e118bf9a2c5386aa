"""The files that names, globs, braces, lists and folders mean, on this machine or by URL."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dalle_jax.data import remote, remote_server
from dalle_jax.data.index import is_own_file, signature_of
from dalle_jax.data.remote import RemoteFile
from dalle_jax.files import cache_folder

MAX_NAMES = 1_000_000
MAX_LENGTH = 4096  # characters of a path
MAX_DEPTH = 20  # of braces in braces

# `::` between names, but not that of an IPv6 address such as http://[::1]:8000/.
_BETWEEN = re.compile(r"::(?![^\[\]]*\])")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")


@dataclass(frozen=True)
class LocalFile:
    """A file of this machine. `version` is its time of modification."""

    path: str
    size: int
    version: str
    identity: str  # equal for two names of one file

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)

    @property
    def address(self) -> str:
        """The whole path."""
        return self.path

    def __str__(self) -> str:
        return self.path

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer at the end of the file."""
        with open(self.path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)

    def read_ahead(self) -> "LocalFile":
        """Itself: the system reads ahead."""
        return self

    def open(self):
        """The file as a binary stream that can seek."""
        return open(self.path, "rb")


File = LocalFile | RemoteFile


def find_files(spec: str | Path | Sequence[str | Path], suffix: str) -> list[File]:
    """The files that `spec` means, sorted, each once.

    A spec is a list of names, or names with `::` between them. A name is that of a file; of a
    folder, for all files in it that end in `suffix`; or has braces (`{000..127}`, `{a,b}`), a glob
    or both. The existing beginning of a path is taken literally, so a folder may be called
    `run[1]`. Each may be a URL.

    Raises:
        FileNotFoundError: a name, an alternative in braces or a glob means no file.
        ValueError: braces stand for more than `MAX_NAMES` names.
    """
    found: list[File] = []
    for text in map(str, [spec] if isinstance(spec, str | Path) else spec):
        # A file whose name has `::` in it is that file.
        is_one = not remote_server.is_url(text) and os.path.isfile(text)
        for name in filter(None, map(str.strip, [text] if is_one else _BETWEEN.split(text))):
            found += _find(name, suffix)
    if not found:
        raise FileNotFoundError(f"no {suffix} file is named in {spec!r}")
    return _once(found)


def _once(found: list[File]) -> list[File]:
    """The files sorted, each under one name, if possible not that of a link."""

    def is_link(file: File) -> bool:
        return not isinstance(file, LocalFile) or os.path.realpath(file.path) != file.path

    by_identity: dict[str, File] = {}
    for file in sorted(set(found), key=lambda file: (is_link(file), str(file))):
        by_identity.setdefault(file.identity, file)
    return sorted(by_identity.values(), key=str)


def _find(name: str, suffix: str) -> list[File]:
    if remote_server.is_url(name):
        found = remote_server.in_threads(lambda one: _find_remote(one, suffix), expand_braces(name))
        return [file for files in found for file in files]
    name = os.path.expanduser(re.sub(r"^file://", "", name, flags=re.IGNORECASE))
    literal, rest = _split_literal(name)
    if not rest:
        return _in_folder(literal, suffix) if os.path.isdir(literal) else [_local(literal)]
    found: list[File] = []
    for one in expand_braces(rest):
        path, pattern = _split_literal(os.path.join(literal, one))
        if not pattern:
            found += _in_folder(path, suffix) if os.path.isdir(path) else [_local(path)]
            continue
        paths = glob.glob(os.path.join(glob.escape(path), pattern), recursive=True)
        # Indices and reports lie beside the data and would match `data/*`.
        files = [_local(file) for file in paths if os.path.isfile(file) and not is_own_file(file)]
        if not files:
            raise FileNotFoundError(
                f"there is no {suffix} file {os.path.join(path, pattern)}{_what_is_there(path)}"
            )
        found += files
    return found


def _find_remote(url: str, suffix: str) -> list[File]:
    # In a query, * and ? are no wildcards.
    if any(mark in url.partition("?")[0].partition("://")[2].partition("/")[2] for mark in "*["):
        found = remote.match_files(url)
        if not found:
            raise FileNotFoundError(f"there is no {suffix} file {remote_server.shown(url)}")
        return list(found)
    if not url.endswith(suffix) and remote.is_folder(url):
        return _find_remote(f"{url.rstrip('/')}/*{suffix}", suffix)
    return [remote.find_file(url)]


def _split_literal(path: str) -> tuple[str, str]:
    """The beginning of a path that exists as it is written, and the rest, "" if all of it does."""
    if os.path.isfile(path) or os.path.isdir(path):
        return path, ""
    parts = path.split("/")
    literal = parts.pop(0) + "/" if path.startswith("/") else ""
    while parts and (not parts[0] or os.path.isdir(os.path.join(literal, parts[0]))):
        literal = os.path.join(literal, parts.pop(0))
    return literal, "/".join(parts)


def _local(path: str) -> LocalFile:
    path = os.path.abspath(path)
    status = os.stat(path)
    return LocalFile(
        path, status.st_size, str(status.st_mtime_ns), f"{status.st_dev}:{status.st_ino}"
    )


def _in_folder(folder: str, suffix: str) -> list[File]:
    paths = glob.glob(os.path.join(glob.escape(folder), f"*{suffix}"))
    files: list[File] = [_local(path) for path in paths if os.path.isfile(path)]
    if not files:
        below = glob.glob(os.path.join(glob.escape(folder), f"*/**/*{suffix}"), recursive=True)
        hint = f"; {len(below)} lie deeper: give {folder}/**/*{suffix}" if below else ""
        raise FileNotFoundError(
            f"the folder {folder} has no {suffix} file{hint or _what_is_there(folder)}"
        )
    return files


def _what_is_there(folder: str) -> str:
    """Which files a folder has, by suffix, for a message."""
    try:
        with os.scandir(folder or ".") as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return ""
    kinds = Counter(Path(name).suffix or name for name in names)
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
    return f"; {folder or 'this folder'} has {listed or 'nothing'}"


def labels_of(files: Sequence[File]) -> list[str]:
    """Different names of files: their own, or paths where two have the same."""
    counts = Counter(file.name for file in files)
    paths = [file.address.replace("://", "/", 1).strip("/") for file in files]
    common = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    return [
        file.name if counts[file.name] == 1 else path[len(common) :].lstrip("/")
        for file, path in zip(files, paths)
    ]


def stamp_of(files: Sequence[File], *parts: object) -> str:
    """A hash of `parts` that changes as soon as the content of a file may have changed.

    It depends on times of a change of status, which nothing sets back, and on versions of URLs.
    """
    times = [os.stat(f.path).st_ctime_ns for f in files if isinstance(f, LocalFile)]
    return signature_of([*((f.address, f.size, f.version) for f in files), times, *parts])


def cache_of(
    files: Sequence[File], options: Sequence[str], cache_dir: str | Path | None
) -> tuple[Path, Path]:
    """The paths of the index and the report of files that are read with some options.

    They lie beside the first file, for URLs in the user's cache folder, or in `cache_dir`.
    """
    first = files[0]
    folder = Path(first.path).parent if isinstance(first, LocalFile) else cache_folder("data")
    if cache_dir:
        folder = Path(cache_dir).expanduser()
    name = signature_of([*(file.address for file in files), *options])[:12]
    return folder / f"index-{name}.npz", folder / f"data_report-{name}.json"


def describe_spec(spec: str | Path | Sequence[str | Path], files: Sequence[File]) -> str:
    """The spec for messages; that of URLs may hold a signature and is not shown."""
    if all(isinstance(file, LocalFile) for file in files):
        return str(spec)
    return str(files[0]) + (f" and {len(files) - 1} more" if files[1:] else "")


def expand_braces(text: str) -> Iterator[str]:
    """The texts that braces stand for: `{000..127}`, `{0..10..2}`, `{a,b}`, several and nested."""
    if len(text) > MAX_LENGTH or _count(text) > MAX_NAMES:
        raise ValueError(f"the braces of {text[:100]!r} stand for more than {MAX_NAMES:,} names")
    return _expand(text)


def _expand(text: str) -> Iterator[str]:
    braces = _first_braces(text)
    if braces is None:
        yield text
        return
    start, end, options = braces
    for option in options:
        for middle in _expand(option):
            for rest in _expand(text[end:]):
                yield text[:start] + middle + rest


def _count(text: str) -> int:
    """The number of texts that braces stand for; anything above `MAX_NAMES` for more."""
    count = 1
    while count <= MAX_NAMES and (braces := _first_braces(text)):
        _, end, options = braces
        count *= len(options) if isinstance(options, _Numbers) else sum(map(_count, options))
        text = text[end:]
    return count


def _first_braces(text: str) -> tuple[int, int, "list[str] | _Numbers"] | None:
    """Start, end and alternatives of the first braces that stand for several texts."""
    start = text.find("{")
    while start >= 0:
        depth, options, last = 0, [], start + 1
        for position in range(start, len(text)):
            letter = text[position]
            depth += (letter == "{") - (letter == "}")
            if depth > MAX_DEPTH:
                raise ValueError(f"braces are nested more than {MAX_DEPTH} deep in {text[:100]!r}")
            if depth == 1 and letter == ",":
                options.append(text[last:position])
                last = position + 1
            if depth == 0:
                inner = text[start + 1 : position]
                numbers = _RANGE.fullmatch(inner)
                if numbers:
                    return start, position + 1, _Numbers(*numbers.groups())
                if options:
                    return start, position + 1, [*options, text[last:position]]
                break
        start = text.find("{", start + 1)
    return None


class _Numbers:
    """The numbers of `{000..127}` as texts, padded with zeros where an end is."""

    def __init__(self, first: str, last: str, step: str | None):
        if max(map(len, (first, last, step or ""))) > 18:
            raise ValueError(f"the range {first:.30}..{last:.30} has too many digits")
        low, high, by = int(first), int(last), abs(int(step or 1)) or 1
        self._numbers = range(low, high + 1, by) if low <= high else range(low, high - 1, -by)
        padded = any(re.match(r"-?0\d", end) for end in (first, last))
        self._width = max(len(first), len(last)) if padded else 0

    def __len__(self) -> int:
        return min(len(self._numbers), MAX_NAMES + 1)

    def __iter__(self) -> Iterator[str]:
        return (f"{number:0{self._width}d}" for number in self._numbers)
