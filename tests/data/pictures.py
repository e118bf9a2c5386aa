"""Small folders of images for tests of the readers."""

import json
import struct
import warnings
import zlib
from pathlib import Path

from dalle_jax.data.folder import FolderSource


def png(number: int, width: int = 1, height: int = 1) -> bytes:
    """An image of one colour that only this number has."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    row = b"\0" + number.to_bytes(3, "big") * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * height)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


def write(root: Path, files: dict[str, object]) -> Path:
    """Files by name: an image of that number, a text, bytes, or records as JSON lines."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            content = png(content)
        elif isinstance(content, list):
            content = "".join(json.dumps(record) + "\n" for record in content)
        elif isinstance(content, dict):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(root: Path, split: str = "all", **options):
    """The source, however many of its items are bad, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FolderSource(root, split, **{"max_bad_share": 1.0, **options})


def captions(root: Path, split: str = "all", **options) -> dict[str, tuple[str, ...]]:
    """The captions of each item by its id."""
    source = read(root, split, **options)
    return {item["id"]: item["captions"] for item in (source[i] for i in range(len(source)))}


def numbers(root: Path, split: str = "all", **options) -> dict[int, tuple[str, ...]]:
    """The captions of each image by the number that its colour is."""
    source = read(root, split, **options)
    items = [source[i] for i in range(len(source))]
    return {
        int.from_bytes(item["image"][0, 0].tobytes(), "big"): item["captions"] for item in items
    }


SHARES = {"validation_share": 0.3, "test_share": 0.3}


def splits(root: Path, **options) -> dict[int, str]:
    """The split of each image by the number of its colour; no image is in two of them."""
    found = {}
    for split in ("train", "validation", "test"):
        for number in numbers(root, split, **{**SHARES, **options}):
            assert number not in found, "an image in two splits"
            found[number] = split
    return found
