"""A folder of images with captions in metadata.jsonl, captions.csv or a .txt beside each image."""

import csv
import json
import os
from pathlib import Path
from typing import Any

from dalle_jax.data.checked import item_problem, scan, signature_of
from dalle_jax.data.images import IMAGE_SUFFIXES, decode
from dalle_jax.data.splits import TEST_SHARE, VALIDATION_SHARE, split_mask

METADATA = "metadata.jsonl"
TABLE = "captions.csv"
REPORT = "data_report.json"

CAPTION_KEYS = ("caption", "text", "captions")

# Python's own limit of 131,072 characters would refuse a table for one long caption, which is only
# to be cut. A field beyond this one is no caption: the quote at its end is lacking.
MAX_FIELD_CHARACTERS = 2**24


class FolderSource:
    """The readable, captioned images of a folder; the others are skipped and named in a report.

    Captions come from `metadata.jsonl` (lines of {"file_name", "caption" | "text" | "captions"}),
    else from `captions.csv` (columns file_name, caption), else from a `.txt` of the image's name,
    one caption a line. An image named several times has several captions.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: more than `max_bad_share` of the items are bad, a name or a link leads out of
            the folder, or a table of captions cannot be read at all.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        max_bad_share: float = 0.01,
        validation_share: float = VALIDATION_SHARE,
        test_share: float = TEST_SHARE,
        cache_dir: str | Path | None = None,
    ):
        self._root = Path(root).resolve()
        if not self._root.is_dir():
            raise FileNotFoundError(f"There is no folder {root}.")
        captions = _read_captions(self._root)
        names = sorted(captions)
        files = [_inside(self._root, name) for name in names]

        def problem(i: int) -> str | None:
            if captions[names[i]] is None:
                return "unreadable caption"
            # Path.is_file would raise an error at a name that is too long for the disk.
            encoded = files[i].read_bytes() if os.path.isfile(files[i]) else None
            return item_problem(encoded, captions[names[i]])

        good, self.report = scan(
            f"folder {root}",
            names,
            problem,
            signature=signature_of(
                (name, _size_and_time(file), captions[name]) for name, file in zip(names, files)
            ),
            report_path=Path(cache_dir or self._root) / REPORT,
            max_bad_share=max_bad_share,
        )
        mask = split_mask(
            [names[i] for i in good],
            split,
            validation_share=validation_share,
            test_share=test_share,
        )
        self._items = [
            (names[i], files[i], tuple(text.strip() for text in captions[names[i]] if text.strip()))
            for i in good[mask]
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, file, captions = self._items[index]
        try:
            image = decode(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{file}, readable when the folder was opened, is not: {error}."
            ) from (error)
        return {"image": image, "caption": captions[0], "captions": captions, "id": name}

    def encoded(self, item_id: str) -> bytes | None:
        """The encoded image of an item, also of one that was refused; None where it has none."""
        try:
            return _inside(self._root, item_id).read_bytes()
        except (OSError, ValueError):
            return None

    def place(self, index: int) -> str:
        """The file of an item."""
        return str(self._items[index][1])


def captions_in(record: Any) -> list[str] | None:
    """The captions of a JSON record, or None if it is not one of that form."""
    if not isinstance(record, dict):
        return None
    values = next((record[key] for key in CAPTION_KEYS if key in record), [])
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return None
    return values


def _read_captions(root: Path) -> dict[str, list[str] | None]:
    """Captions by the image's path in the folder; [] where it has none, None where unreadable."""
    tables = [name for name in (METADATA, TABLE) if (root / name).is_file()]
    if len(tables) == 2:
        raise ValueError(f"{root} holds both {METADATA} and {TABLE}; keep one of them.")
    images = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    ]
    if tables:
        read = {METADATA: _read_metadata, TABLE: _read_table}[tables[0]]
        captions = read(_inside(root, tables[0]))
    else:
        captions = {_name(root, path): _read_beside(root, path) for path in images}
    for path in images:
        captions.setdefault(_name(root, path), [])
    return captions


def _read_metadata(path: Path) -> dict[str, list[str] | None]:
    captions: dict[str, list[str] | None] = {}
    with open(path, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            texts = captions_in(record)
            name = record.get("file_name") if isinstance(record, dict) else None
            if not isinstance(name, str) or not name or texts is None:
                captions[f"{path.name}:{number}"] = None
            else:
                _add(captions, name, texts)
    return captions


def _read_table(path: Path) -> dict[str, list[str] | None]:
    captions: dict[str, list[str] | None] = {}
    # The limit is the whole process's: it is only raised, which no other reader of tables minds.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARACTERS))
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.DictReader(lines)
        try:
            column = next(
                (key for key in ("caption", "text") if key in (rows.fieldnames or ())), None
            )
            if column is None or "file_name" not in rows.fieldnames:
                raise ValueError(f"{path} must begin with a line of columns: file_name,caption.")
            for row in rows:
                if row["file_name"]:
                    _add(captions, row["file_name"], [row[column] or ""])
                else:
                    captions[f"{path.name}:{rows.line_num}"] = None
        except csv.Error as error:
            raise ValueError(f"{path} cannot be read at line {rows.line_num}: {error}.") from error
    return captions


def _read_beside(root: Path, image: Path) -> list[str] | None:
    path = image.with_suffix(".txt")
    if not path.is_file():
        return []
    file = _inside(root, _name(root, path))
    try:
        return file.read_text(encoding="utf-8-sig").splitlines() or [""]
    except UnicodeDecodeError:
        return None


def _add(captions: dict[str, list[str] | None], name: str, texts: list[str]) -> None:
    captions[name] = (captions.get(name) or []) + texts


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _inside(root: Path, name: str) -> Path:
    """The file `name` of the folder `root`, with all links followed."""
    try:
        path = (root / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise ValueError(f"The file name {name!r:.200} in {root} is no path: {error}.") from error
    if not path.is_relative_to(root):
        raise ValueError(f"The file name {name!r:.200} leads out of the folder {root}.")
    return path


def _size_and_time(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
