#!/usr/bin/env bash
# Pillow 13.0.0 reads a grey TIFF whose PhotometricInterpretation is WhiteIsZero as its negative when
# it has 16 bits, and rightly when it has 8: the tag is honoured for 8 bits only, without a warning.
# Seen: a picture whose first pixel is white comes out with the levels 255 and 0 (8 bits), and with
# 0 and 65535 (16 bits).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys

import PIL
from PIL import Image


def white_is_zero(bits):
    """A baseline TIFF of 2 × 1 pixels, white and black: 0 and the largest value."""
    pixels = struct.pack("<BB" if bits == 8 else "<HH", 0, 2**bits - 1)
    tags = [
        *((256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1)),
        *((262, 3, 1, 0), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1)),
        (279, 4, 1, len(pixels)),
    ]
    header = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return header + pixels + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


found = {}
for bits in (8, 16):
    with Image.open(io.BytesIO(white_is_zero(bits))) as image:
        found[bits] = [image.getpixel((x, 0)) for x in (0, 1)]
print(f"Pillow {PIL.__version__}: white, black come out as {found[8]} (8 bits), {found[16]} (16 bits)")
sys.exit(not (found[8] == [255, 0] and found[16] == [0, 65535]))
PYTHON
