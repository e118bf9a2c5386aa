"""Images without their metadata, where Pillow refuses the metadata."""

import re
import zlib

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_EXIF = b"Exif\0\0"


def separate_metadata(encoded: bytes) -> tuple[bytes, bytes] | None:
    """The image without texts, colour profile and EXIF; and its EXIF, b"" where there is none.

    None if it is neither PNG nor JPEG: of other formats Pillow itself reads the metadata apart.
    """
    if encoded.startswith(_PNG):
        return _separate_png(encoded)
    if encoded.startswith(_JPEG):
        return _separate_jpeg(encoded)
    return None


def _separate_png(encoded: bytes) -> tuple[bytes, bytes]:
    parts, exif, at = [_PNG], b"", len(_PNG)
    while at + 8 <= len(encoded):
        end = at + 12 + int.from_bytes(encoded[at : at + 4], "big")
        kind, data = encoded[at + 4 : at + 8], encoded[at + 8 : end - 4]
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts.append(encoded[at:end])
        elif (
            kind == b"eXIf" and zlib.crc32(kind + data).to_bytes(4, "big") == encoded[end - 4 : end]
        ):
            exif = _EXIF + data
        at = end
    return b"".join(parts), exif


def _separate_jpeg(encoded: bytes) -> tuple[bytes, bytes]:
    parts, exif, at = [_JPEG], b"", len(_JPEG)
    while at + 4 <= len(encoded) and encoded[at] == 0xFF:
        marker, end = encoded[at + 1], at + 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        if marker == 0xFF:  # Any number of these bytes may stand before a marker.
            at += 1
            continue
        if marker == 0xDA:  # The pixels begin.
            break
        segment = encoded[at + 4 : end]
        if marker == 0xE1 and segment.startswith(_EXIF):
            exif = exif or segment
        # JFIF's and Adobe's segments, where whole, say what the colours are; of the other
        # applications' segments and of comments nothing is needed.
        says_colors = marker in (0xE0, 0xEE) and len(segment) >= 12
        if says_colors or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(encoded[at:end])
        at = end
    return b"".join([*parts, encoded[at:]]), exif


def without_avif_exif(encoded: bytes) -> bytes:
    """An AVIF image without its EXIF, in which Pillow would write the container's orientation."""
    if encoded[4:8] != b"ftyp":
        return encoded
    # An item of a type that no decoder knows is passed over. An item's entry is its version,
    # number, protection and type.
    return re.sub(rb"(infe.{8,10}?)Exif", rb"\1none", encoded, count=1, flags=re.DOTALL)
