#!/usr/bin/env bash
# Pillow 13.0.0: a grey PNG of 2 or 4 bits with a transparent level (tRNS) loses its transparency. The
# pixels are scaled to 0…255 when they are read and the level is not, so that it fits no pixel.
# Seen: of the levels 0 to 3 of a 2-bit picture, level 3 transparent, alpha is 255 everywhere; with 8
# bits and the same chunk the pixel of that level has alpha 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys
import zlib

import PIL
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, row, level):
    header = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = (
        chunk(b"IHDR", header),
        chunk(b"tRNS", struct.pack(">H", level)),
        chunk(b"IDAT", zlib.compress(b"\0" + row)),
        chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def alpha(encoded):
    with Image.open(io.BytesIO(encoded)) as image:
        return [image.convert("RGBA").getpixel((x, 0))[3] for x in range(4)]


two, eight = alpha(png(2, bytes([0b00011011]), 3)), alpha(png(8, bytes([0, 1, 2, 3]), 3))
print(f"Pillow {PIL.__version__}: alpha of levels 0 to 3 is {two} (2 bits), {eight} (8 bits)")
sys.exit(not (two == [255] * 4 and eight == [255, 255, 255, 0]))
PYTHON
