"""Squares with img2dataset's white border are noted, in a folder as in shards."""

import json

import numpy as np
import pytest
from PIL import Image

from dalle_jax.data.img2dataset import border_note
from dalle_jax.data.webdataset import WebDatasetSource
from tests.data import tars
from tests.data.encoded import encoded
from tests.data.pictures import captions, read, write

WIDE, TALL, SQUARE = (640, 320), (320, 640), (640, 640)


def square(top, right, bottom, left):
    """A gray image of 64 pixels with white margins of these widths."""
    image = np.full((64, 64, 3), 255, np.uint8)
    image[top : 64 - bottom, left : 64 - right] = 128
    return image


def record(before):
    sides = {"width": 64, "height": 64, "original_width": before[0], "original_height": before[1]}
    return {"caption": "a", "url": "x", "key": "0", "status": "success", **sides}


@pytest.mark.parametrize(
    ("before", "image", "bordered"),
    [
        (WIDE, square(16, 0, 16, 0), True),
        (TALL, square(0, 16, 0, 16), True),
        (WIDE, square(0, 16, 0, 16), False),
        (SQUARE, square(16, 16, 16, 16), False),  # white is what was there
        (WIDE, square(0, 0, 0, 0), False),  # a crop
        ((640, 630), square(0, 0, 0, 0), False),
        ((-1, None), square(16, 0, 16, 0), False),
    ],
)
def test_a_border_that_the_former_sides_explain_is_noted(before, image, bordered):
    note = border_note(json.dumps(record(before)).encode())
    assert bool(note and note(image)) is bordered


def test_borders_are_noted_in_a_folder_and_its_tables_are_left_out(tmp_path):
    for i in range(4):
        image = encoded(Image.fromarray(square(16, 0, 16, 0) if i < 2 else square(0, 0, 0, 0)))
        key = f"0000{i % 2}/0000{i % 2}000{i}"
        write(tmp_path, {f"{key}.png": image, f"{key}.json": record(WIDE), f"{key}.txt": f"{i}"})
    write(tmp_path, {"00000.parquet": "x", "00001.parquet": "x", "00000_stats.json": {"count": 2}})
    assert sorted(captions(tmp_path).values()) == [(f"{i}",) for i in range(4)]
    report = read(tmp_path).report
    assert report.left_out == {
        "table or statistics of img2dataset": ["00000.parquet", "00000_stats.json", "00001.parquet"]
    }
    ((note, names),) = report.noted.items()
    assert "resize_mode=border" in note and len(names) == 2 and not report.skipped


def test_borders_are_noted_in_shards(tmp_path):
    image = encoded(Image.fromarray(square(16, 0, 16, 0)))
    members = [("0.png", image), ("0.txt", b"a"), ("0.json", json.dumps(record(WIDE)).encode())]
    tars.write(tmp_path / "00000.tar", members)
    write(tmp_path, {"00000_stats.json": "{}", "00000.parquet": b"PAR1"})
    items, report = tars.found(WebDatasetSource, tmp_path)
    assert items == {"00000.tar/0": ("a",)} and [*report.noted.values()] == [["00000.tar/0"]]
