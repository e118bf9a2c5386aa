"""What a file is that is no readable image, by its first bytes."""

import re

from dalle_jax.data import git_lfs
from dalle_jax.data.images import IMAGE_SUFFIXES

# Images, by their suffixes, of formats that Pillow can read only with a plugin, or never.
OTHER_IMAGE_SUFFIXES = (
    frozenset(
        (".heic", ".heif", ".jxl", ".svg", ".psb", ".exr", ".hdr", ".jxr", ".raw", ".dng", ".cr2")
        + (".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".xcf", ".wmf", ".emf")
        + (".eps", ".ai")
    )
    - IMAGE_SUFFIXES
)
UNREADABLE = "unreadable image"
_HEIC = re.compile(rb".{4}ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)
_JXL = (b"\xff\x0a", b"\0\0\0\x0cJXL ")


def why_no_image(encoded: bytes) -> str:
    """Why bytes that could not be decoded are no image, for a report."""
    if git_lfs.is_pointer(encoded):
        return git_lfs.POINTER
    if not encoded.strip(b"\0"):
        return f"{UNREADABLE}: {'nothing but zeros' if encoded else 'an empty file'}"
    if _HEIC.match(encoded):
        return other_format(".heic")
    if encoded.startswith(_JXL):
        return other_format(".jxl")
    if encoded.startswith(b"%PDF"):
        return other_format(".pdf")
    beginning = encoded[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if beginning.startswith((b"<?xml", b"<svg")) and b"<svg" in beginning:
        return other_format(".svg")
    if beginning.startswith((b"<!doctype html", b"<html")):
        return f"{UNREADABLE}: a web page, as a failed download leaves it"
    return UNREADABLE


def other_format(suffix: str) -> str:
    """The reason for an image of a format that is never read."""
    return f"image of a format that is not read ({suffix})"
