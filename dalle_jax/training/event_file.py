"""TensorBoard's event files, as far as a training writes them: numbers and pictures by step.

A file is a sequence of records: the length of a message, its checksum, the message and its
checksum. A message is an `Event` of TensorFlow's event.proto and summary.proto, in protobuf's
encoding, of which `_field` writes what is needed.
"""

import io
import socket
import struct
import time
from pathlib import Path

import numpy as np
from PIL import Image


class EventFile:
    """An event file of a folder that TensorBoard is shown."""

    def __init__(self, directory: Path, *, purge_step: int):
        """Begin a new file; events of earlier files from `purge_step` on count no more."""
        directory.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = (directory / name).open("wb")
        self._write(_field(3, b"brain.Event:2"))
        self._write(_field(2, purge_step) + _field(7, _field(1, 1)))  # a session starts

    def scalar(self, step: int, name: str, value: float) -> None:
        """One number."""
        self._summary(step, name, _field(2, value))

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """One picture, uint8 [H, W, 3]."""
        png, (height, width, channels) = io.BytesIO(), image.shape
        Image.fromarray(image).save(png, "png")
        size = _field(1, height) + _field(2, width) + _field(3, channels)
        self._summary(step, name, _field(4, size + _field(4, png.getvalue())))

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()

    def _summary(self, step: int, name: str, value: bytes) -> None:
        self._write(_field(2, step) + _field(5, _field(1, _field(1, name.encode()) + value)))

    def _write(self, event: bytes) -> None:
        message = b"\x09" + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(message))
        self._file.write(length + _checksum(length) + message + _checksum(message))
        self._file.flush()


def _field(number: int, value: int | float | bytes) -> bytes:
    """A field of a protobuf message: a whole number, a float32, or text and messages."""
    if isinstance(value, bytes):
        return bytes([number << 3 | 2]) + _varint(len(value)) + value
    if isinstance(value, float):
        return bytes([number << 3 | 5]) + struct.pack("<f", value)
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have their highest bit set."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as in TensorFlow's records."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = [_table_entry(byte) for byte in range(256)]
