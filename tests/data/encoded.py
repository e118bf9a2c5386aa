"""Images and tables as bytes, among them PNG and TIFF of any depth, which Pillow does not write."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def encoded(image, kind="PNG", **settings):
    """The bytes of a Pillow image."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def parquet(columns, **options):
    """The bytes of a Parquet file of columns, or of rows."""
    table = pa.Table.from_pylist(columns) if isinstance(columns, list) else pa.table(columns)
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def png_chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(values, color, bits, *, before=(), after=()):
    """A PNG of `values` [H, W(, C)]; `before` and `after` are chunks around its pixels."""
    height, width = values.shape[:2]
    rows = []
    for row in values.reshape(height, -1):
        if bits == 16:
            data = row.astype(">u2").tobytes()
        else:
            unpacked = (row[:, None].astype(np.uint8) >> np.arange(bits)[::-1]) & 1
            data = np.packbits(unpacked.ravel()).tobytes()
        rows.append(b"\0" + data)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *before,
            png_chunk(b"IDAT", zlib.compress(b"".join(rows))),
            *after,
            png_chunk(b"IEND", b""),
        ]
    )


def tiff(data, width, height, bits, *, photometric=1, sample_format=1, channels=1, extra=()):
    """A little-endian TIFF of one strip; `extra` are further tags (number, type, count, value)."""
    shorts = struct.pack("<HH", bits, bits if channels == 2 else 0) if channels <= 2 else None
    tags = [
        (256, 3, 1, struct.pack("<HH", width, 0)),
        (257, 3, 1, struct.pack("<HH", height, 0)),
        (258, 3, channels, shorts),
        (259, 3, 1, struct.pack("<HH", 1, 0)),
        (262, 3, 1, struct.pack("<HH", photometric, 0)),
        (273, 4, 1, None),
        (277, 3, 1, struct.pack("<HH", channels, 0)),
        (278, 3, 1, struct.pack("<HH", height, 0)),
        (279, 4, 1, struct.pack("<I", len(data))),
        (339, 3, 1, struct.pack("<HH", sample_format, 0)),
        *extra,
    ]
    tags.sort(key=lambda tag: tag[0])
    end = 8 + 2 + 12 * len(tags) + 4
    out = [b"II*\0", struct.pack("<I", 8), struct.pack("<H", len(tags))]
    for number, kind, count, value in tags:
        if number == 258 and value is None:
            value = struct.pack("<I", end)
        if number == 273:
            value = struct.pack("<I", end + (2 * channels if channels > 2 else 0))
        out.append(struct.pack("<HHI", number, kind, count) + value)
    out.append(struct.pack("<I", 0))
    if channels > 2:
        out.append(struct.pack(f"<{channels}H", *[bits] * channels))
    return b"".join(out) + data
