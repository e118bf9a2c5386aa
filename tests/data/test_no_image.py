"""Why a file under an image's name is none."""

import pytest

from dalle_jax.data.no_image import why_no_image
from tests.data.pictures import png, read, write


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "unreadable image: an empty file"),
        (bytes(500), "unreadable image: nothing but zeros"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "image of a format that is not read (.heic)"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0heic", "image of a format that is not read (.heic)"),
        (b"\0\0\0\x20ftypmp42\0\0\0\0isom", "unreadable image"),
        (b"\xff\x0a\xfa\x1f", "image of a format that is not read (.jxl)"),
        (b"%PDF-1.7", "image of a format that is not read (.pdf)"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>", "image of a format that is not read (.svg)"),
        (b"<?xml version='1.0'?>\n<plist/>", "unreadable image"),
        (b"\n<!DOCTYPE html>", "unreadable image: a web page, as a failed download leaves it"),
        (b"<HTML><h1>404", "unreadable image: a web page, as a failed download leaves it"),
        (png(1)[:-30], "unreadable image"),
    ],
)
def test_what_a_file_is_is_said(encoded, reason):
    assert why_no_image(encoded) == reason


def test_a_photo_of_a_phone_under_another_suffix_is_named(tmp_path):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    write(tmp_path, {"a.jpg": heic, "a.txt": "x", "b.png": 2, "b.txt": "y"})
    report = read(tmp_path).report
    assert report.skipped == {"image of a format that is not read (.heic)": ["a.jpg"]}
