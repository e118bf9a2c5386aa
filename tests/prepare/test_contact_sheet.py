"""The sheet that `prepare` draws of one's own data."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from dalle_jax.data.report import Report
from dalle_jax.prepare import contact_sheet as module
from dalle_jax.prepare.contact_sheet import COLUMNS, SHOWN, SIDE, contact_sheet
from tests.data.encoded import encoded


def png(color, size=(12, 8)):
    return encoded(Image.new("RGB", size, color))


def source(count, size=(8, 12)):
    """Items of a colour of their own."""
    images = [np.full((*size, 3), (i, 255 - i, 7), np.uint8) for i in range(count)]
    return [{"image": image, "caption": f"colour {i}"} for i, image in enumerate(images)]


def colors(sheet):
    return {tuple(color) for color in np.asarray(sheet).reshape(-1, 3)}


@pytest.fixture
def texts(monkeypatch):
    """The texts that are written under pictures."""
    written = []
    grid = module.captioned_grid
    monkeypatch.setattr(
        module,
        "captioned_grid",
        lambda images, t, **how: written.extend(t) or grid(images, t, **how),
    )
    return written


@pytest.mark.parametrize("count", [1, 2, SHOWN, SHOWN + 1, 1000])
def test_pictures_are_spread_over_all_items(count, texts):
    sheet = contact_sheet(source(min(count, 256)) * (count // 256 + 1), Report("x", count), {}.get)
    assert len(texts) == min(count, SHOWN)
    assert len(set(texts)) == len(texts) and texts[0] == "colour 0"
    assert sheet.height > SIDE * -(-min(count, SHOWN) // COLUMNS)


@pytest.mark.parametrize("size", [(8, 12), (12, 8), (1, 300), (300, 1), (2, 2), (600, 400)])
def test_a_picture_is_shown_whole_whatever_its_shape(size):
    (item,) = source(1, size)
    item["image"][-1, -1] = (255, 0, 255)
    item["image"][: size[0] // 2 or 1, : size[1] // 2 or 1] = (0, 0, 255)
    fitted = module.fitted(item["image"])
    assert fitted.shape == (SIDE, SIDE, 3)
    assert (0, 0, 255) in colors(fitted) or min(size) == 1


def test_each_reason_is_seen_with_its_picture_where_there_is_one(texts):
    report = Report("x", 60)
    torn = png("red", (64, 64))[:-30]
    entries = {"torn.png": torn, "small.png": png("lime"), "uncaptioned.png": png("blue")}
    entries["notes.md"] = b"# text"
    for i in range(50):
        report.skip("empty caption", f"{i}.png")
    report.skip("unreadable image", "torn.png")
    report.skip("image without caption", "uncaptioned.png")
    report.left_out = {"side below 8 pixels": ["small.png"], "suffix .md": ["notes.md"]}
    sheet = contact_sheet(source(1), report, entries.get)
    (_, *refused) = texts
    assert refused[:3] == [
        "empty caption: 0.png",
        "image without caption: uncaptioned.png",
        "unreadable image: torn.png",
    ]
    assert {(0, 0, 255), (255, 0, 0)} <= colors(sheet)
    assert not any("notes.md" in text for text in refused)  # no picture, and no item


def test_what_is_left_out_is_shown_where_it_is_a_picture(texts):
    report = Report("x", 1, left_out={"side below 8 pixels": ["small.png"], "hidden": [".a"]})
    sheet = contact_sheet(source(1), report, {"small.png": png("lime")}.get)
    assert texts == ["colour 0", "side below 8 pixels: small.png"]
    assert (0, 255, 0) in colors(sheet)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_number_of_captions_and_the_beginning_of_long_ones_are_written(texts):
    (item,) = source(1)
    item["captions"] = ("word " * 100, "second", "third")
    contact_sheet([item], Report("x", 1), {}.get)
    (text,) = texts
    assert text.endswith("… (+2)") and len(text) < 170


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_of_a_torn_picture_what_there_is_is_shown(kind):
    whole = io.BytesIO()
    Image.effect_noise((128, 128), 90).convert("RGB").save(whole, kind)
    encoded = whole.getvalue()
    shown = module.partly_decoded(encoded[: len(encoded) // 2])
    filled = float((shown.sum(axis=-1) > 0).mean())
    assert shown.shape == (128, 128, 3) and 0.2 < filled < 0.6
