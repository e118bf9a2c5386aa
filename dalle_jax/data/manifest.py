"""The caption manifest: the fixed, hashed list of held-out captions that an evaluation uses.

A manifest is a JSONL file. Its first line is the header, each other line is a row:

    {"manifest": 1, "rule": "one", "source": "captioned_shapes/easy", "data": {…}, "split": "test",
     "seed": 0, "count": 512, "of": 5000, "sha256": "…", "hash": "…"}
    {"id": "test/00017", "caption": "a large red circle", "image": 17, "split": "test", "hash": "…"}

`image` is the item's index in the source's split, or a file's path below the folder of images.
`sha256` is the SHA-256 of the content: header, then rows, each as JSON with sorted keys, without
the hashes. `hash` is the beginning of that SHA-256 up to the line, so that the first changed line
is known. Spaces and escapes in the file do not count.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dalle_jax.files import write_atomically

FORMAT = 1
RULES = {
    "one": "the first caption of each image",
    "all": "every caption of each image, as a row of its own",
}
MAX_CAPTION = 10_000  # characters
MAX_NAME = 4_096  # characters of an id, a file's path, a split
MAX_LINE = 2**19  # bytes
HASH_DIGITS = 16


@dataclass(frozen=True)
class Row:
    """A caption and the image that it was written for."""

    id: str  #: unique in the manifest
    caption: str
    image: int | str  #: index in the source's split, or a path below the folder of images
    split: str  #: of the image


@dataclass(frozen=True)
class Header:
    """How the rows were chosen."""

    rule: str  #: of `RULES`
    source: str  #: the data set, as `data.open` names it; of a path only its last part
    data: Mapping[str, Any]  #: the source's other arguments, as image_size and captions
    split: str  #: of the source
    seed: int  #: of the sampling
    count: int  #: of rows
    of: int  #: number of rows that they were sampled from


@dataclass(frozen=True)
class Manifest:
    """Header and rows, all of which are checked.

    Raises:
        ValueError: there is no row, a row's caption, id or image can't be used, two rows have one
            id, or the header has another number of rows. The message names the line.
    """

    header: Header
    rows: tuple[Row, ...]

    def __post_init__(self):
        data = json.dumps(self.header.data, ensure_ascii=False)
        for what, text in {**vars(self.header), "data": data}.items():
            if isinstance(text, str) and (problem := _text_problem(what, text, MAX_NAME)):
                raise ValueError(f"line 1: {problem}")
        if self.header.rule not in RULES:
            raise ValueError(
                f"line 1: there is no rule {self.header.rule!r:.80}; there are {', '.join(RULES)}"
            )
        if self.header.count != len(self.rows) or not self.rows:
            raise ValueError(
                f"line 1: the header states {self.header.count} rows and there are "
                f"{len(self.rows)}; lines are missing or too many"
            )
        lines: dict[str, int] = {}
        for line, row in enumerate(self.rows, 2):
            if problem := _problem(row):
                raise ValueError(f"line {line}: {problem}")
            if type(row.image) is not type(self.rows[0].image):
                raise ValueError(f"line {line}: its image is {row.image!r:.80}, unlike line 2's")
            first = lines.setdefault(row.id, line)
            if first != line:
                raise ValueError(f"line {line}: its id {row.id!r:.80} is that of line {first} too")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def captions(self) -> list[str]:
        """The captions, in order."""
        return [row.caption for row in self.rows]

    @cached_property
    def sha256(self) -> str:
        """The hash of the content, by which results name the manifest."""
        *_, last = _running_sha256(self.header, self.rows)
        return last


def choose(
    candidates: Iterable[tuple[str, int | str, Sequence[tuple[str, str]]]],
    *,
    source: str,
    split: str,
    rule: str,
    n: int | None,
    seed: int,
    data: Mapping[str, Any] | None = None,
) -> Manifest:
    """The manifest of images given as (id, image, [(caption's id, caption), …]).

    The first n rows in the order of the SHA-256 of "seed/id": sampling without replacement, in
    which n = 512 is the beginning of n = 1,024. By the rule "one" a row has its image's id, by
    "all" the caption's id after it: "17#0".

    Raises:
        ValueError: an unknown rule, fewer than n rows, or a caption that can't be used.
    """
    if rule not in RULES:
        raise ValueError(f"there is no rule {rule!r}; there are {', '.join(RULES)}")
    rows = []
    for own_id, image, captions in candidates:
        for caption_id, text in captions if rule == "all" else captions[:1]:
            row_id = own_id if rule == "one" else f"{own_id}#{caption_id}"
            rows.append(Row(row_id, text.strip(), image, split))
    of = len(rows)
    n = of if n is None else n
    if not 0 < n <= of:
        raise ValueError(f"{source} {split} has {of} captions by the rule {rule!r}; n is {n}")
    rows = sorted(rows, key=lambda row: _position(seed, row.id))[:n]
    for row in rows:
        if problem := _problem(row):
            raise ValueError(f"{source} {row.id!r:.80}: {problem}; mend the data")
    # As JSON gives it back, so that what is made equals what is read.
    data = json.loads(_canonical(dict(data or {})))
    return Manifest(Header(rule, source, data, split, seed, n, of), tuple(rows))


def write_manifest(path: str | Path, manifest: Manifest) -> None:
    """Write the file atomically.

    Raises:
        ValueError: there is another manifest: results that name it could no longer be repeated.
    """
    path = Path(path).expanduser()
    if path.exists() and read_manifest(path).sha256 != manifest.sha256:
        raise ValueError(
            f"{path} holds another manifest; give another name, or remove it if no result needs "
            "to be repeated with it"
        )
    header = {"manifest": FORMAT, **vars(manifest.header), "sha256": manifest.sha256}
    records = [header, *map(vars, manifest.rows)]
    lines = (
        json.dumps({**record, "hash": sha256[:HASH_DIGITS]}, ensure_ascii=False).encode() + b"\n"
        for record, sha256 in zip(records, _running_sha256(manifest.header, manifest.rows))
    )
    write_atomically(path, lambda file: file.writelines(lines))


def read_manifest(path: str | Path) -> Manifest:
    """The manifest in a file, verified.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is torn, changed, missing or can't be used; the message names it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no caption manifest {path}")
    with open(path, "rb") as file:
        try:
            return _parse(iter(lambda: file.readline(MAX_LINE + 1), b""))
        except ValueError as error:
            raise ValueError(f"{path}, {error}") from error


HEADER_TYPES = {
    **dict.fromkeys(("manifest", "seed", "count", "of"), int),
    **dict.fromkeys(("rule", "source", "split", "sha256", "hash"), str),
    "data": dict,
}
ROW_TYPES = {**dict.fromkeys(("id", "caption", "split", "hash"), str), "image": int | str}


def _parse(lines: Iterator[bytes]) -> Manifest:
    """The manifest of a file's lines; an error begins with the line's number."""
    records = [
        _record(number, line, ROW_TYPES if number > 1 else HEADER_TYPES)
        for number, line in enumerate(lines, 1)
    ]
    if not records:
        raise ValueError("line 1: the file is empty")
    stated = records[0].pop("sha256")
    if records[0].pop("manifest") != FORMAT:
        raise ValueError(f"line 1: it is of another format than {FORMAT}, which is read here")
    hashes = [record.pop("hash") for record in records]
    header, rows = Header(**records[0]), tuple(Row(**record) for record in records[1:])
    for number, (own, running) in enumerate(zip(hashes, _running_sha256(header, rows)), 1):
        if own != running[:HASH_DIGITS]:
            moved = ", or lines before it were added, removed or moved" if number > 1 else ""
            raise ValueError(f"line {number}: it was changed since it was written{moved}")
    manifest = Manifest(header, rows)
    if stated != manifest.sha256:
        raise ValueError("line 1: its sha256 is not that of the content")
    return manifest


def _record(number: int, line: bytes, types: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of a line, with exactly the fields of `types`."""
    if len(line) > MAX_LINE:
        raise ValueError(f"line {number}: it is longer than {MAX_LINE} bytes")
    try:
        record = json.loads(line.decode(), object_pairs_hook=_without_repeats)
        # What is read can be hashed: no infinity, no nesting without end.
        _canonical(record)
    except (ValueError, RecursionError):
        raise ValueError(f"line {number}: it is torn, or no JSON object in UTF-8") from None
    found = sorted(record) if isinstance(record, dict) else []
    if found != sorted(types):
        raise ValueError(f"line {number}: it must hold just the fields {', '.join(types)}")
    for name, kind in types.items():
        if not isinstance(record[name], kind) or isinstance(record[name], bool):
            raise ValueError(f"line {number}: its {name} is {record[name]!r:.80}")
    return record


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field occurs twice")
    return fields


def _running_sha256(header: Header, rows: Iterable[Row]) -> Iterator[str]:
    """The SHA-256 of the content up to each line."""
    digest = hashlib.sha256()
    for record in (header, *rows):
        digest.update(_canonical(vars(record)) + b"\n")
        yield digest.hexdigest()


def _canonical(record: Any) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _problem(row: Row) -> str | None:
    """Why a row can't be used, or None."""
    for what, text in vars(row).items():
        limit = MAX_CAPTION if what == "caption" else MAX_NAME
        if isinstance(text, str) and (problem := _text_problem(what, text, limit)):
            return problem
    if isinstance(row.image, str):
        # Either kind of separator, so that a manifest means the same on every machine.
        for path in (PurePosixPath(row.image), PureWindowsPath(row.image)):
            if path.root or ".." in path.parts:
                return f"its image {row.image!r:.200} leads out of the folder of images"
    elif row.image < 0:
        return f"its image is {row.image}, which is no index"
    return None


def caption_problem(text: str) -> str | None:
    """Why a text can't be a manifest's caption, or None."""
    problem = _text_problem("caption", text, MAX_CAPTION)
    return problem and problem.removeprefix("its ")


def _text_problem(what: str, text: str, limit: int) -> str | None:
    if not text.strip():
        return f"its {what} is empty"
    if len(text) > limit:
        return f"its {what} has {len(text)} characters, more than {limit}"
    if "\0" in text:
        return f"its {what} {text!r:.80} holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"its {what} {text!r:.80} holds a lone surrogate, which is no text"
    return None


def _position(seed: int, row_id: str) -> bytes:
    return hashlib.sha256(f"{seed}/{row_id}".encode("utf-8", "backslashreplace")).digest()
