"""Which files of a folder are its images, and how they are decoded."""

import os

import numpy as np
import pytest
from PIL import Image

from dalle_jax.metrics.images import open_images, pixel_digest, set_digest


def picture(path, color="red", **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), color).save(path, **settings)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        picture(tmp_path / "all" / f"{i}.png")
    return tmp_path / "all"


def test_linked_folders_and_files_are_measured_too(folder, tmp_path):
    for i in range(12):
        picture(tmp_path / "more" / f"{i}.png", "blue")
    os.symlink(tmp_path / "more", folder / "more")
    os.symlink(tmp_path / "more" / "0.png", folder / "again.png")
    opened = open_images(folder)
    assert len(opened) == 25 and opened.left_out == {}
    assert opened[opened.names.index("more/3.png")][0, 0].tolist() == [0, 0, 255]


def test_a_link_back_to_the_folder_ends(folder):
    os.symlink(".", folder / "self")
    opened = open_images(folder)
    assert len(opened) == 12 and opened.left_out == {"link in a circle": ["self/"]}


def test_formats_of_pillow_are_images(folder):
    for suffix in ("avif", "webp", "tif", "jp2", "qoi", "ppm", "tga", "JPG", "jfif"):
        picture(folder / f"x.{suffix}")
    assert len(open_images(folder)) == 21


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".ipynb_checkpoints/0-checkpoint.png", "hidden"),
        (".thumbnails/0.png", "hidden"),
        ("._0.png", "hidden"),
        ("__MACOSX/0.png", "system file"),
        ("@eaDir/0.png/thumb.jpg", "system file"),
        ("$RECYCLE.BIN/0.png", "system file"),
    ],
)
def test_copies_made_by_tools_and_systems_are_no_samples(folder, name, reason):
    picture(folder / name)
    opened = open_images(folder)
    assert len(opened) == 12 and list(opened.left_out) == [reason]


def test_what_is_left_out_is_counted_and_named_by_reason(folder):
    (folder / "prompts.txt").write_text("a red square")
    (folder / "figure.eps").write_text("%!PS")
    (folder / "Thumbs.db").write_bytes(b"")
    os.symlink("nowhere", folder / "gone.png")
    assert open_images(folder).left_out == {
        "broken link": ["gone.png"],
        "without an image's suffix": ["figure.eps", "prompts.txt"],
        "system file": ["Thumbs.db"],
    }


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"holds 1 without an image's suffix \(a\.txt\)"):
        open_images(tmp_path)


def test_the_published_tools_decoding_is_asked_for_and_its_differences_are_counted(tmp_path):
    clear = Image.new("RGBA", (4, 2), (10, 20, 30, 0))
    clear.save(tmp_path / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.full((2, 2), 40_000, np.uint16)).save(tmp_path / "deep.png")
    upright, converted = (open_images(tmp_path, way) for way in ("upright", "converted"))
    assert [image[0, 0].tolist() for image in upright] == [[255] * 3, [156] * 3, [255, 0, 0]]
    for _ in range(2):  # An image that is read twice counts once.
        assert [image[0, 0].tolist() for image in converted][:2] == [[10, 20, 30], [255] * 3]
    assert upright.decoding_differences() == {}
    assert converted.decoding_differences() == {
        "transparency discarded": 1,
        "16-bit gray clipped to 255": 1,
        "EXIF orientation ignored": 1,
    }


def test_a_set_is_the_same_as_files_and_as_an_array(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    for name, image in zip(("0.png", "1.png", "deeper/2.png"), images):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    np.savez(tmp_path / "images.npz", images)
    np.save(tmp_path / "images.npy", images)
    expected = set_digest(map(pixel_digest, images))
    for name in ("folder", "images.npz", "images.npy"):
        opened = open_images(tmp_path / name)
        assert set_digest(pixel_digest(np.asarray(opened[i])) for i in (2, 0, 1)) == expected
        np.testing.assert_array_equal(opened[2], images[2])


def test_bad_sets_are_a_sentence_that_names_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder or file"):
        open_images(tmp_path / "nowhere")
    picture(tmp_path / "folder/good.png")
    torn = tmp_path / "folder/torn.png"
    torn.write_bytes((tmp_path / "folder/good.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"torn\.png: unreadable image.*repair or remove it"):
        list(open_images(tmp_path / "folder"))
    np.savez(tmp_path / "pickle.npz", arr_0=np.array([{}], object))
    whole = (tmp_path / "pickle.npz").read_bytes()
    for content in (whole, whole[:100], b""):
        (tmp_path / "torn.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"torn\.npz can't be read as an array"):
            open_images(tmp_path / "torn.npz")
    np.save(tmp_path / "float.npy", np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"images are uint8 \[N, H, W, 3\]"):
        open_images(tmp_path / "float.npy")
